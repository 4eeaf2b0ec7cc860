package image_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/image"
	"nephos/internal/workflow"
)

// keyring holds certificates by id.
type keyring map[string]*x509.Certificate

func (k keyring) find(_ context.Context, id string) (*x509.Certificate, error) {
	if c := k[id]; c != nil {
		return c, nil
	}
	return nil, errors.New("none of that id")
}

// add makes a certificate for a key and gives its id.
func (k keyring) add(t *testing.T, key crypto.Signer, until time.Time) string {
	t.Helper()
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	id := uuid.NewString()
	k[id] = c
	return id
}

// TestSignedImages: bytes that are not what was signed, and signatures that cannot be checked, leave the image queued and no bytes.
func TestSignedImages(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d := dbtest.SQLite(t, workflow.Migrations(), image.Migrations())
	dir := t.TempDir()
	store, err := image.NewDirStore(dir, 0)
	require.NoError(t, err)
	keys := keyring{}
	svc := image.New(image.Config{DB: d, Store: store, Node: "n", Certificate: keys.find})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	soon := time.Now().Add(time.Hour)
	rsaID, ecID, oldID := keys.add(t, rsaKey, soon), keys.add(t, ecKey, soon), keys.add(t, rsaKey, time.Now().Add(-time.Hour))
	const data = "the bytes that were signed"
	short, long := sha256.Sum256([]byte(data)), sha512.Sum512([]byte(data))
	pss, err := rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, short[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto})
	require.NoError(t, err)
	ec, err := ecdsa.SignASN1(rand.Reader, ecKey, long[:])
	require.NoError(t, err)
	b64 := base64.StdEncoding.EncodeToString
	for _, x := range []struct {
		name, value, hash, kind, cert, data, says string
	}{
		{"RSA-PSS", b64(pss), "SHA-256", "RSA-PSS", rsaID, data, ""},
		{"ECDSA", b64(ec), "SHA-512", "ECC_SECP384R1", ecID, data, ""},
		{"other bytes", b64(pss), "SHA-256", "RSA-PSS", rsaID, data + ".", "not what was signed"},
		{"other bytes, ECDSA", b64(ec), "SHA-512", "ECC_SECP384R1", ecID, "x", "not what was signed"},
		{"another's signature", b64(pss[1:]), "SHA-256", "RSA-PSS", rsaID, data, "not what was signed"},
		{"no base64", "§", "SHA-256", "RSA-PSS", rsaID, data, "base64"},
		{"unknown hash", b64(pss), "MD5", "RSA-PSS", rsaID, data, "MD5"},
		{"unknown key type", b64(pss), "SHA-256", "DSA", rsaID, data, "DSA"},
		{"key of another type", b64(pss), "SHA-256", "RSA-PSS", ecID, data, "another type"},
		{"expired certificate", b64(pss), "SHA-256", "RSA-PSS", oldID, data, "not valid at this time"},
		{"no such certificate", b64(pss), "SHA-256", "RSA-PSS", uuid.NewString(), data, "cannot be had"},
	} {
		t.Run(x.name, func(t *testing.T) {
			n := raw(x.name)
			n.Properties = map[string]string{"img_signature": x.value, "img_signature_hash_method": x.hash, "img_signature_key_type": x.kind, "img_signature_certificate_uuid": x.cert}
			img, err := svc.Create(ctx, alice, n)
			require.NoError(t, err)
			err = svc.Upload(ctx, alice, img.ID, strings.NewReader(x.data), int64(len(x.data)))
			got, gerr := svc.ByID(ctx, img.ID)
			require.NoError(t, gerr)
			if x.says == "" {
				require.NoError(t, err)
				require.Equal(t, image.Active, got.Status)
				return
			}
			require.ErrorContains(t, err, x.says)
			require.Equal(t, fault.KindInvalid, fault.KindOf(err))
			require.Equal(t, image.Queued, got.Status)
			objects, lerr := store.List(ctx)
			require.NoError(t, lerr)
			for _, o := range objects {
				require.NotEqual(t, img.ID, o.ID)
			}
		})
	}
}
