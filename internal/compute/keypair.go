package compute

import (
	"context"
	"crypto/ed25519"
	"crypto/md5" //nolint:gosec // the fingerprint format of OpenSSH before 6.8, which Nova's API shows
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Keypair is a user's public key.
type Keypair struct {
	UserID      string  `db:"user_id"`
	Name        string  `db:"name"`
	ID          int64   `db:"id"`
	Type        string  `db:"type"` // ssh
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

// CreateKeypair imports publicKey, or makes a new pair when it is empty and returns the private key, which is kept nowhere.
func (s *Service) CreateKeypair(ctx context.Context, projectID, userID, name, publicKey string) (k *Keypair, privateKey string, err error) {
	if publicKey == "" {
		if publicKey, privateKey, err = generateKey(); err != nil {
			return nil, "", err
		}
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(publicKey))
	if err != nil {
		return nil, "", fault.Invalid("public_key", "Keypair data is invalid: failed to generate fingerprint")
	}
	k = &Keypair{UserID: userID, Name: name, Type: "ssh", PublicKey: strings.TrimSpace(publicKey), Fingerprint: fingerprint(key), Created: db.Now()}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		limit, err := s.Quotas.Limit(ctx, tx, projectID, "key_pairs")
		if err != nil {
			return err
		}
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

// fingerprint is MD5 in colon form, as Nova shows it.
func fingerprint(key ssh.PublicKey) string {
	sum := md5.Sum(key.Marshal()) //nolint:gosec // see the import
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(parts, ":")
}
