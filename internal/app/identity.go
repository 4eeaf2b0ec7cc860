package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"nephos/internal/config"
	"nephos/internal/db"
	"nephos/internal/identity"
)

// identityMoved is the subject on which a controller tells the others that it has changed identity's records.
const identityMoved = "controller.identity.moved"

// origin names the sender of such a message, who has voided its own caches already.
type origin struct {
	Process string `json:"process"`
}

// newIdentity makes the identity room from the configuration. With a bus, controllers void each other's caches after each write; a
// message that is lost costs at most identity.CacheAge.
func newIdentity(cfg *config.Config, d *db.DB, clock clockwork.Clock, log *slog.Logger, b Bus) (*identity.Service, error) {
	secret, err := cloudSecret(cfg)
	if err != nil {
		return nil, err
	}
	c := cfg.Identity.Security
	deps := identity.Deps{DB: d, Clock: clock, Secret: secret, BcryptCost: cfg.Identity.BcryptCost, TokenTTL: time.Duration(cfg.Identity.TokenMinutes) * time.Minute,
		Limits: cfg.Identity.LimitsModel, Log: log.With("room", "identity"),
		Security: identity.Security{LockoutFailures: c.LockoutFailureAttempts, LockoutDuration: time.Duration(c.LockoutDuration) * time.Second,
			PasswordDays: c.PasswordExpiresDays, UniquePasswords: c.UniqueLastPasswordCount, MinimumAgeDays: c.MinimumPasswordAge, Regex: c.PasswordRegex,
			RegexDescription: c.PasswordRegexDescription, InactiveDays: c.DisableUserDaysInactive, ChangeOnFirstUse: c.ChangePasswordOnFirstUse}}
	if b == nil {
		return identity.New(deps)
	}
	self := origin{Process: randomWord(16)}
	deps.Changed = func() {
		if err := b.Publish(identityMoved, self); err != nil {
			log.Debug("other controllers not told of a change of identity", "err", err)
		}
	}
	svc, err := identity.New(deps)
	if err != nil {
		return nil, err
	}
	return svc, b.Listen(identityMoved, func(_ context.Context, data []byte) error {
		var from origin
		if json.Unmarshal(data, &from) != nil || from != self {
			svc.Invalidate()
		}
		return nil
	})
}

// cloudSecret is what all controllers of a cloud share: it seals the keys in the database.
func cloudSecret(cfg *config.Config) (string, error) {
	if path := cfg.Identity.SecretFile; path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("identity.secret_file: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	path := cfg.SharedPath("cloud-secret")
	if b, err := os.ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
		return strings.TrimSpace(string(b)), err
	}
	// Controllers may start together: whoever links its file first has made the secret, and the others read it.
	tmp := path + "." + randomWord(8)
	if err := writeFile(tmp, randomWord(40)+"\n", 0o600); err != nil {
		return "", err
	}
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", errors.Join(err, os.Remove(tmp))
	}
	if err := errors.Join(os.Remove(tmp), syncDir(filepath.Dir(path))); err != nil {
		return "", err
	}
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// RotateKeys rotates identity's keys in the database of a cloud, running or not: of tokens, or of credentials. Running controllers take the new
// keys up by themselves.
func RotateKeys(ctx context.Context, cfg *config.Config, credentials bool, out io.Writer) (err error) {
	url := cfg.Database
	if url == "" {
		url = cfg.Path("nephos.db")
		if _, err := os.Stat(url); err != nil {
			return fmt.Errorf("there is no cloud in %s: %w", cfg.StateDir, err)
		}
		if _, err := os.Stat(cfg.SharedPath("cloud-secret")); err != nil && cfg.Identity.SecretFile == "" {
			return fmt.Errorf("the cloud's secret is missing: %w", err)
		}
	}
	d, err := db.Open(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	svc, err := newIdentity(cfg, d, clockwork.NewRealClock(), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	if credentials {
		if err := svc.RotateCredentialKeys(ctx); err != nil {
			return err
		}
		fmt.Fprintln(out, "credential keys rotated; all credentials are sealed anew")
		return nil
	}
	if err := svc.RotateKeys(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "token keys rotated; tokens issued before stay valid")
	return nil
}
