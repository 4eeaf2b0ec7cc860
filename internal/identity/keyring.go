package identity

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/fernet/fernet-go"
)

// MaxActiveKeys is how many key files a rotation leaves: Keystone's [fernet_tokens] max_active_keys.
const MaxActiveKeys = 3

// keyring is a directory of Fernet keys in Keystone's layout: file 0 is the staged key (the next primary, already accepted), the highest
// number is the primary (signs), the others are secondary (only accepted). Several processes may use one directory: changes happen
// under a lock file by renames, and a process that meets a signature it does not know looks whether the files have changed.
type keyring struct {
	dir string

	mu    sync.RWMutex // guards what follows
	keys  []*fernet.Key
	stamp string // of the files that keys came from
}

// openKeyring loads dir; an empty or absent directory gets a staged and a primary key.
func openKeyring(dir string) (*keyring, error) {
	k := &keyring{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("fernet keys: %w", err)
	}
	if err := k.locked(k.setup); err != nil {
		return nil, fmt.Errorf("fernet keys in %s: %w", dir, err)
	}
	if err := k.load(); err != nil {
		return nil, fmt.Errorf("fernet keys in %s: %w", dir, err)
	}
	return k, nil
}

// locked runs fn while no other process changes the directory. The lock ends with the process, whatever happens to it.
func (k *keyring) locked(fn func() error) (err error) {
	f, err := os.OpenFile(filepath.Join(k.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	return fn()
}

// setup makes what is missing. A crash after the first file leaves a primary alone, which is enough to work; the next start adds 0.
func (k *keyring) setup() error {
	have, err := k.indexes()
	if err != nil {
		return err
	}
	if len(have) == 0 || have[len(have)-1] == 0 {
		if err := k.create(1); err != nil {
			return err
		}
	}
	if !slices.Contains(have, 0) {
		return k.create(0)
	}
	return nil
}

// rotate makes the staged key the primary, stages a new one and removes the oldest secondaries. A crash between the renames
// leaves no staged key, which setup mends; no key that has signed a live token is lost.
func (k *keyring) rotate(keep int) error {
	err := k.locked(func() error {
		if err := k.setup(); err != nil {
			return err
		}
		have, err := k.indexes()
		if err != nil {
			return err
		}
		next := have[len(have)-1] + 1
		if err := os.Rename(k.path(0), k.path(next)); err != nil {
			return err
		}
		if err := k.create(0); err != nil {
			return err
		}
		secondary := have[1 : len(have)-1] // without the staged one and the primary until now
		for len(secondary) > max(keep-3, 0) {
			if err := os.Remove(k.path(secondary[0])); err != nil {
				return err
			}
			secondary = secondary[1:]
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rotate fernet keys in %s: %w", k.dir, err)
	}
	return k.load()
}

func (k *keyring) path(i int) string { return filepath.Join(k.dir, strconv.Itoa(i)) }

// create writes a new key under its number, whole or not at all.
func (k *keyring) create(i int) error {
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	tmp := filepath.Join(k.dir, ".new")
	if err := writeSynced(tmp, []byte(base64.URLEncoding.EncodeToString(raw[:]))); err != nil {
		return err
	}
	if err := os.Rename(tmp, k.path(i)); err != nil {
		return err
	}
	d, err := os.Open(k.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// indexes lists the key files' numbers, ascending; other files are ignored.
func (k *keyring) indexes() ([]int, error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		if i, err := strconv.Atoi(e.Name()); err == nil && i >= 0 && e.Type().IsRegular() {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out, nil
}

// load reads all keys, the primary first.
func (k *keyring) load() error {
	stamp, err := k.look()
	if err != nil {
		return err
	}
	have, err := k.indexes()
	if err != nil {
		return err
	}
	var keys []*fernet.Key
	for _, i := range slices.Backward(have) {
		b, err := os.ReadFile(k.path(i))
		if errors.Is(err, fs.ErrNotExist) { // another process has just rotated: its new name is read at the next look
			continue
		}
		if err != nil {
			return err
		}
		key, err := fernet.DecodeKey(strings.TrimSpace(string(b)))
		if err != nil {
			return fmt.Errorf("key file %d: %w", i, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return errors.New("no key file is there")
	}
	k.mu.Lock()
	k.keys, k.stamp = keys, stamp
	k.mu.Unlock()
	return nil
}

// look describes the key files; it changes whenever one comes, goes or is replaced.
func (k *keyring) look() (string, error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if info, err := e.Info(); err == nil {
			st, _ := info.Sys().(*syscall.Stat_t)
			fmt.Fprintf(&b, "%s:%d:%d ", e.Name(), info.ModTime().UnixNano(), st.Ino)
		}
	}
	return b.String(), nil
}

// refresh loads the files again if they have changed.
func (k *keyring) refresh() bool {
	stamp, err := k.look()
	if err != nil {
		return false
	}
	k.mu.RLock()
	same := stamp == k.stamp
	k.mu.RUnlock()
	return !same && k.load() == nil
}

// seal encrypts and signs msg with the primary key. The text is URL-safe, without padding.
func (k *keyring) seal(msg []byte) (string, error) {
	k.refresh()
	k.mu.RLock()
	key := k.keys[0]
	k.mu.RUnlock()
	tok, err := fernet.EncryptAndSign(msg, key)
	if err != nil {
		return "", fmt.Errorf("seal token: %w", err)
	}
	return strings.TrimRight(string(tok), "="), nil
}

// maxTokenText bounds what is tried; our tokens have some 200 characters.
const maxTokenText = 512

// open gives the message, nil if no key has signed it.
func (k *keyring) open(token string) []byte {
	if len(token) == 0 || len(token) > maxTokenText {
		return nil
	}
	token = strings.TrimRight(token, "=")
	padded := []byte(token + strings.Repeat("=", (4-len(token)%4)%4))
	if !wellFormed(padded) {
		return nil
	}
	if msg := k.try(padded); msg != nil {
		return msg
	}
	if k.refresh() {
		return k.try(padded)
	}
	return nil
}

// wellFormed keeps from the library what is no Fernet message at all: it must be canonical base64 (so that no two texts are one
// token), of version 0x80, with whole AES blocks.
func wellFormed(padded []byte) bool {
	raw, err := base64.URLEncoding.Strict().AppendDecode(nil, padded)
	const head, tail, block = 1 + 8 + 16, 32, 16
	return err == nil && len(raw) >= head+block+tail && raw[0] == 0x80 && (len(raw)-head-tail)%block == 0
}

func (k *keyring) try(padded []byte) []byte {
	k.mu.RLock()
	keys := k.keys
	k.mu.RUnlock()
	return fernet.VerifyAndDecrypt(padded, 0, keys) // our message holds its own times
}
