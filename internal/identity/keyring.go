package identity

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fernet/fernet-go"
	"github.com/jonboulle/clockwork"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// MaxActiveKeys is how many keys a rotation leaves, unless live tokens need more: Keystone's [fernet_tokens] max_active_keys.
const MaxActiveKeys = 3

// mostKeys bounds the keys of a purpose, however often they are rotated: each is tried on a message that none has signed.
const mostKeys = 16

// What keys are for.
const (
	forTokens      = "token"
	forCredentials = "credential"
)

// keyring is a set of Fernet keys in the database, numbered as Keystone numbers its key files: 0 is staged (the next primary, already
// accepted), the highest is the primary (signs), the others are secondary (only accepted). Each row is sealed with the cloud's secret, so
// that a copy of the database alone forges no token and opens no credential. All controllers read the same rows; one that meets a
// signature it does not know reads them again (docs/decisions/0010).
type keyring struct {
	db      *db.DB
	clock   clockwork.Clock
	purpose string
	wrap    *fernet.Key // made from the cloud's secret

	mu     sync.RWMutex // guards what follows
	keys   []*fernet.Key
	loaded time.Time
}

type keyRow struct {
	Purpose   string  `db:"purpose"`
	Idx       int64   `db:"idx"`
	Sealed    string  `db:"sealed"`
	CreatedAt db.Time `db:"created_at"` // since when it is staged; of others, since when it has been the primary
}

// wrapKey stretches the cloud's secret, which is random already, to a Fernet key.
func wrapKey(secret string) (*fernet.Key, error) {
	raw, err := hkdf.Key(sha256.New, []byte(secret), nil, "nephos identity keys 1", 32)
	if err != nil {
		return nil, err
	}
	return fernet.DecodeKey(base64.URLEncoding.EncodeToString(raw))
}

// openKeyring loads a purpose's keys, making a staged one and a primary where there are none. Two controllers that start at once agree: the
// second finds the rows of the first.
func openKeyring(ctx context.Context, d *db.DB, clock clockwork.Clock, purpose, secret string) (*keyring, error) {
	if len(secret) < 16 {
		return nil, errors.New("the cloud's secret is missing or has less than 16 characters")
	}
	k := &keyring{db: d, clock: clock, purpose: purpose}
	var err error
	if k.wrap, err = wrapKey(secret); err != nil {
		return nil, err
	}
	if err = k.load(ctx); err == nil {
		return k, nil
	}
	if !errors.Is(err, errNoKeys) {
		return nil, err
	}
	err = d.Write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "identity"); err != nil {
			return err
		}
		rows, err := k.rows(ctx, tx)
		if err != nil || len(rows) > 0 {
			return err
		}
		for idx := range int64(2) {
			if err := k.add(ctx, tx, idx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s keys: %w", purpose, err)
	}
	return k, k.load(ctx)
}

func (k *keyring) rows(ctx context.Context, tx *db.Tx) ([]keyRow, error) {
	var out []keyRow
	err := tx.Select(ctx, &out, `SELECT * FROM identity_keys WHERE purpose = ? ORDER BY idx DESC`, k.purpose)
	return out, err
}

func (k *keyring) add(ctx context.Context, tx *db.Tx, idx int64) error {
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	sealed, err := fernet.EncryptAndSign(raw[:], k.wrap)
	if err != nil {
		return err
	}
	return tx.Insert(ctx, "identity_keys", keyRow{Purpose: k.purpose, Idx: idx, Sealed: string(sealed), CreatedAt: db.At(k.clock.Now())})
}

var errNoKeys = errors.New("there are no keys")

// load reads all keys, the primary first.
func (k *keyring) load(ctx context.Context) error {
	now := k.clock.Now()
	var rows []keyRow
	if err := k.db.Read(ctx, func(tx *db.Tx) (err error) {
		rows, err = k.rows(ctx, tx)
		return err
	}); err != nil {
		return fmt.Errorf("%s keys: %w", k.purpose, err)
	}
	keys, err := k.unseal(rows)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.keys, k.loaded = keys, now
	k.mu.Unlock()
	return nil
}

func (k *keyring) unseal(rows []keyRow) ([]*fernet.Key, error) {
	if len(rows) == 0 {
		return nil, errNoKeys
	}
	var keys []*fernet.Key
	for _, r := range rows {
		raw := fernet.VerifyAndDecrypt([]byte(r.Sealed), 0, []*fernet.Key{k.wrap})
		if raw == nil {
			return nil, fault.Unavailable("The %s keys in the database are sealed with another secret: give every controller of a cloud the same one (the file cloud-secret).", k.purpose)
		}
		key, err := fernet.DecodeKey(base64.URLEncoding.EncodeToString(raw))
		if err != nil {
			return nil, fmt.Errorf("%s key %d: %w", k.purpose, r.Idx, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// rotate makes the staged key the primary, stages a new one, and removes the oldest secondaries that nothing alive can need: those beyond keep that
// were superseded longer than alive ago. It gives the keys as they are after the transaction.
func (k *keyring) rotate(ctx context.Context, tx *db.Tx, keep int, alive time.Duration) ([]*fernet.Key, error) {
	rows, err := k.rows(ctx, tx)
	if err != nil || len(rows) < 2 {
		return nil, errors.Join(err, errNoKeysIf(len(rows) < 2))
	}
	now := k.clock.Now()
	next := rows[0].Idx + 1
	if _, err := tx.Exec(ctx, `UPDATE identity_keys SET idx = ?, created_at = ? WHERE purpose = ? AND idx = 0`, next, db.At(now), k.purpose); err != nil {
		return nil, err
	}
	if err := k.add(ctx, tx, 0); err != nil {
		return nil, err
	}
	count := len(rows) + 1
	for i := len(rows) - 2; i >= 1 && count > keep; i-- { // from the oldest on; row 0 has just become a secondary
		if superseded := rows[i-1].CreatedAt.Time; count <= mostKeys && now.Sub(superseded) < alive {
			break
		}
		if _, err := tx.Exec(ctx, `DELETE FROM identity_keys WHERE purpose = ? AND idx = ?`, k.purpose, rows[i].Idx); err != nil {
			return nil, err
		}
		count--
	}
	if rows, err = k.rows(ctx, tx); err != nil {
		return nil, err
	}
	return k.unseal(rows)
}

func errNoKeysIf(none bool) error {
	if none {
		return errNoKeys
	}
	return nil
}

// refresh loads the rows again if the last look is older than age; it says whether it has.
func (k *keyring) refresh(ctx context.Context, age time.Duration) bool {
	k.mu.RLock()
	fresh := k.clock.Since(k.loaded) < age
	k.mu.RUnlock()
	return !fresh && k.load(ctx) == nil
}

func (k *keyring) active() []*fernet.Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.keys
}

// seal encrypts and signs msg with the primary key. The text is URL-safe, without padding.
func (k *keyring) seal(ctx context.Context, msg []byte) (string, error) {
	k.refresh(ctx, CacheAge)
	return sealWith(k.active()[0], msg)
}

func sealWith(key *fernet.Key, msg []byte) (string, error) {
	tok, err := fernet.EncryptAndSign(msg, key)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return strings.TrimRight(string(tok), "="), nil
}

// rereadAfter bounds how often messages that no key opens make the keys be read again.
const rereadAfter = 100 * time.Millisecond

// open gives the message, nil if no key has signed it.
func (k *keyring) open(ctx context.Context, text string) []byte {
	if msg := openWith(k.active(), text); msg != nil || !wellFormed(pad(text)) {
		return msg
	}
	if k.refresh(ctx, rereadAfter) {
		return openWith(k.active(), text)
	}
	return nil
}

func openWith(keys []*fernet.Key, text string) []byte {
	padded := pad(text)
	if !wellFormed(padded) {
		return nil
	}
	return fernet.VerifyAndDecrypt(padded, 0, keys) // our message holds its own times
}

// pad puts the padding back that seal took away; it may be there.
func pad(text string) []byte {
	if len(text) == 0 || len(text) > maxSealed {
		return nil
	}
	text = strings.TrimRight(text, "=")
	return []byte(text + strings.Repeat("=", (4-len(text)%4)%4))
}

func base64URL(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// maxSealed bounds what is tried, in characters: a credential's blob of 64 KiB. maxTokenText is the same for tokens, of which ours have some 200.
const (
	maxSealed    = 100 << 10
	maxTokenText = 512
)

// wellFormed keeps from the library what is no Fernet message at all: it must be canonical base64 (so that no two texts are one
// token), of version 0x80, with whole AES blocks.
func wellFormed(padded []byte) bool {
	raw, err := base64.URLEncoding.Strict().AppendDecode(nil, padded)
	const head, tail, block = 1 + 8 + 16, 32, 16
	return err == nil && len(raw) >= head+block+tail && raw[0] == 0x80 && (len(raw)-head-tail)%block == 0
}
