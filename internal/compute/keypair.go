package compute

import (
	"context"
	"crypto/ed25519"
	"crypto/md5" //nolint:gosec // the fingerprint format of OpenSSH before 6.8, which Nova's API shows
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the fingerprint format of certificates that Nova's API shows
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// The types of keypairs.
const (
	KeySSH  = "ssh"
	KeyX509 = "x509" // a certificate, for guests that know no SSH
)

// Keypair is a user's public key or certificate.
type Keypair struct {
	UserID      string  `db:"user_id"`
	Name        string  `db:"name"`
	ID          int64   `db:"id"`
	Type        string  `db:"type"` // KeySSH or KeyX509
	Fingerprint string  `db:"fingerprint"`
	PublicKey   string  `db:"public_key"`
	Created     db.Time `db:"created_at"`
}

// GetKeypair finds a user's keypair; fault.KindNotFound otherwise.
func GetKeypair(ctx context.Context, tx *db.Tx, userID, name string) (*Keypair, error) {
	var k Keypair
	err := tx.Get(ctx, &k, `SELECT * FROM keypairs WHERE user_id = ? AND name = ?`, userID, name)
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.NotFound("Keypair %s not found for user %s", name, userID)
	}
	return &k, err
}

// Keypair reads one keypair.
func (s *Service) Keypair(ctx context.Context, userID, name string) (k *Keypair, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error { k, err = GetKeypair(ctx, tx, userID, name); return err })
	return k, err
}

// Keypairs lists a user's keypairs by name.
func (s *Service) Keypairs(ctx context.Context, userID string) ([]Keypair, error) {
	var out []Keypair
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT * FROM keypairs WHERE user_id = ? ORDER BY name`, userID)
	})
	return out, err
}

// CreateKeypair imports publicKey (for KeyX509 a certificate in PEM), or makes a new pair when it is empty and returns the private key, which is kept nowhere.
func (s *Service) CreateKeypair(ctx context.Context, projectID, userID, name, kind, publicKey string) (k *Keypair, privateKey string, err error) {
	if publicKey == "" {
		if kind == KeyX509 {
			publicKey, privateKey, err = generateCertificate(userID, s.Clock.Now())
		} else {
			publicKey, privateKey, err = generateKey()
		}
		if err != nil {
			return nil, "", err
		}
	}
	print, err := printOf(kind, publicKey)
	if err != nil {
		return nil, "", fault.Invalid("public_key", "Keypair data is invalid: failed to generate fingerprint").WithCause(err)
	}
	k = &Keypair{UserID: userID, Name: name, Type: kind, PublicKey: strings.TrimSpace(publicKey), Fingerprint: print, Created: db.Now()}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		limits, err := s.Quotas.UserLimits(ctx, tx, projectID, userID, []string{"key_pairs"})
		if err != nil {
			return err
		}
		limit := limits["key_pairs"]
		if err := tx.Lock(ctx, "keypairs"); err != nil { // the count and the next id must not be read by two at once
			return err
		}
		var n int64
		if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM keypairs WHERE user_id = ?`, userID); err != nil {
			return err
		}
		if limit >= 0 && n >= limit {
			return fault.Quota("Quota exceeded, too many key pairs.")
		}
		if err := tx.Get(ctx, &k.ID, `SELECT COALESCE(MAX(id), 0) + 1 FROM keypairs`); err != nil {
			return err
		}
		err = tx.Insert(ctx, "keypairs", k)
		if db.IsUnique(err) {
			return fault.Conflict("Key pair '%s' already exists.", name)
		}
		return err
	})
	return k, privateKey, err
}

// DeleteKeypair removes a keypair; servers keep the key they were made with.
func (s *Service) DeleteKeypair(ctx context.Context, userID, name string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM keypairs WHERE user_id = ? AND name = ?`, userID, name)
		if err == nil && n == 0 {
			return fault.NotFound("Keypair %s not found for user %s", name, userID)
		}
		return err
	})
}

func generateKey() (public, private string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, "Generated-by-Nova")
	if err != nil {
		return "", "", err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " Generated-by-Nova", string(pem.EncodeToMemory(block)), nil
}

// userPrincipal is the name by which Windows maps a client's certificate to an account: a SAN of its own type (Microsoft's UPN).
var userPrincipal = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}

// generateCertificate makes a key and a certificate of its own hand, with which a client may log in to WinRM as the user (Nova's form: ten years, the user's id as name).
func generateCertificate(userID string, now time.Time) (certificate, private string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", "", err
	}
	upn, err := asn1.MarshalWithParams(userID+"@localhost", "utf8,explicit,tag:0")
	if err != nil {
		return "", "", err
	}
	oid, err := asn1.Marshal(userPrincipal)
	if err != nil {
		return "", "", err
	}
	other, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(oid, upn...)})
	if err != nil {
		return "", "", err
	}
	names, err := asn1.Marshal([]asn1.RawValue{{FullBytes: other}})
	if err != nil {
		return "", "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return "", "", err
	}
	form := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: userID}, NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}}}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), nil
}

// printOf is the fingerprint in colon form, as Nova shows it: MD5 of an SSH key, SHA-1 of a certificate. An error when the text is neither.
func printOf(kind, public string) (string, error) {
	if kind == KeyX509 {
		block, _ := pem.Decode([]byte(public))
		if block == nil {
			return "", errors.New("no PEM block")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", err
		}
		sum := sha1.Sum(cert.Raw) //nolint:gosec // see the import
		return colons(sum[:]), nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		return "", err
	}
	sum := md5.Sum(key.Marshal()) //nolint:gosec // see the import
	return colons(sum[:]), nil
}

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(parts, ":")
}
