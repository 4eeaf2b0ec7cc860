package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"nephos/internal/config"
)

// state is what a process keeps about itself in its state directory, besides what the rooms keep.
type state struct {
	instance string // 6 characters that tell this cloud's devices on the machine from another's
	token    string // the bus's secret
	lock     *os.File
}

// openState makes the directory (0711: unprivileged guests' sockets lie below, secrets are 0600 each) and takes its lock. One process per directory.
func openState(dir string) (*state, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another nephos process uses %s (stop it, or choose another --state-dir)", dir)
	}
	s := &state{lock: f}
	if s.instance, err = keptSecret(filepath.Join(dir, "instance"), 6); err == nil {
		s.token, err = keptSecret(filepath.Join(dir, "join-token"), 32)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (s *state) close() { s.lock.Close() }

const letters = "abcdefghijklmnopqrstuvwxyz0123456789"

// keptSecret reads a word from a file, or makes one of n characters and keeps it there (0600).
func keptSecret(path string, n int) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	word := randomWord(n)
	return word, writeFile(path, word+"\n", 0o600)
}

func randomWord(n int) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails (crypto/rand)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

// writeFile replaces a file, whole or not at all, and returns when it survives a power cut: without the secrets that lie in such files the database is worth nothing. A
// file that is as it should be is left alone, so that a start on existing state waits for no disk.
func writeFile(path, text string, mode os.FileMode) error {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm() == mode {
		if b, err := os.ReadFile(path); err == nil && string(b) == text {
			return nil
		}
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory survive a power cut.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// adminPassword is the configured one, or one that is made at first start and kept.
func adminPassword(c *config.Config) (string, error) {
	if c.AdminPassword != "" {
		return c.AdminPassword, nil
	}
	return keptSecret(c.SharedPath("admin-password"), 16)
}

// writeCredentials writes openrc and clouds.yaml for the admin, 0600.
func writeCredentials(c *config.Config, password string) error {
	url := c.URL(config.PortIdentity, "/v3")
	ca, err := authority(c)
	if err != nil {
		return err
	}
	caVariable, caEntry := "unset OS_CACERT\n", ""
	if ca != "" {
		caVariable, caEntry = "export OS_CACERT="+quoteShell(ca)+"\n", "    cacert: "+quoteYAML(ca)+"\n"
	}
	rc := fmt.Sprintf(`# The admin of this nephos cloud: . %s
export OS_AUTH_URL=%s
export OS_IDENTITY_API_VERSION=3
export OS_USERNAME=admin
export OS_PASSWORD=%s
export OS_PROJECT_NAME=admin
export OS_USER_DOMAIN_NAME=Default
export OS_PROJECT_DOMAIN_NAME=Default
export OS_REGION_NAME=%s
export OS_INTERFACE=public
%sunset OS_CLOUD OS_TENANT_NAME OS_TENANT_ID OS_PROJECT_ID OS_TOKEN
`, c.Path("openrc"), url, quoteShell(password), c.Region, caVariable)
	if err := writeFile(c.Path("openrc"), rc, 0o600); err != nil {
		return err
	}
	clouds := fmt.Sprintf(`clouds:
  nephos:
    auth:
      auth_url: %s
      username: admin
      password: %s
      project_name: admin
      user_domain_name: Default
      project_domain_name: Default
    region_name: %s
    identity_api_version: "3"
    interface: public
%s`, url, quoteYAML(password), c.Region, caEntry)
	return writeFile(c.Path("clouds.yaml"), clouds, 0o600)
}

func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func quoteYAML(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
