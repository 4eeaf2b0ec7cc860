package identity_test

import (
	"context"
	"encoding/base32"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/identity"
	"nephos/internal/identity/identitytest"
)

// secured is a service with rules and a user "ann".
func secured(t *testing.T, d *db.DB, rules identity.Security) (*world, identity.UserRef) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	w := &world{t: t, db: d, clock: clock, Service: identitytest.With(t, identity.Deps{DB: d, Clock: clock, Security: rules})}
	u, err := w.CreateUser(context.Background(), identity.NewUser{Name: "ann", DomainID: "default", Password: "Secret-1", Enabled: true})
	require.NoError(t, err)
	w.ann = u.ID
	return w, identity.UserRef{ID: u.ID}
}

func (w *world) try(ref identity.UserRef, password string) error {
	_, _, err := w.IssueToken(context.Background(), identity.AuthRequest{Methods: []string{"password"}, User: ref, Password: password})
	return err
}

func TestLockout(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w, ann := secured(t, d, identity.Security{LockoutFailures: 3, LockoutDuration: time.Minute})
		for range 3 {
			require.Error(t, w.try(ann, "wrong"))
		}
		err := w.try(ann, "Secret-1")
		require.Equal(t, fault.KindUnauthorized, fault.KindOf(err))
		require.Equal(t, fault.Message(w.try(ann, "wrong")), fault.Message(err), "a lock looks like a wrong password")
		require.Error(t, w.ChangePassword(context.Background(), w.ann, "Secret-1", "Secret-2", ""))
		w.clock.Advance(time.Minute)
		require.NoError(t, w.try(ann, "Secret-1"))
		require.Error(t, w.try(ann, "wrong"))
		require.Error(t, w.try(ann, "wrong"))
		require.NoError(t, w.try(ann, "Secret-1"), "a good one begins a new count")
		require.Error(t, w.try(ann, "wrong"))
		require.Error(t, w.try(ann, "wrong"))
		require.NoError(t, w.try(ann, "Secret-1"))

		_, err = w.UpdateUser(context.Background(), w.ann, nil, func(u *identity.User) error {
			u.Options.V = identity.Options{"ignore_lockout_failure_attempts": []byte("true")}
			return nil
		})
		require.NoError(t, err)
		for range 5 {
			require.Error(t, w.try(ann, "wrong"))
		}
		require.NoError(t, w.try(ann, "Secret-1"))
	})
}

func TestPasswordRules(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w, ann := secured(t, d, identity.Security{Regex: `^.*-\d$`, RegexDescription: "end with a dash and a digit", UniquePasswords: 3, MinimumAgeDays: 1, PasswordDays: 10})
		_, err := w.CreateUser(ctx, identity.NewUser{Name: "bob", DomainID: "default", Password: "plain", Enabled: true})
		require.ErrorContains(t, err, "end with a dash")
		change := func(old, new string) error { return w.ChangePassword(ctx, w.ann, old, new, "") }
		require.Equal(t, fault.KindInvalid, fault.KindOf(change("Secret-1", "plain")))
		require.NoError(t, change("Secret-1", "Secret-2"), "the age counts from the user's own change on")
		require.ErrorContains(t, change("Secret-2", "Secret-3"), "minimum age")
		w.clock.Advance(25 * time.Hour)
		for _, used := range []string{"Secret-1", "Secret-2"} {
			require.ErrorContains(t, change("Secret-2", used), "previous password", used)
		}
		require.NoError(t, change("Secret-2", "Secret-3"))
		w.clock.Advance(25 * time.Hour)
		require.NoError(t, change("Secret-3", "Secret-4"))
		w.clock.Advance(25 * time.Hour)
		require.NoError(t, change("Secret-4", "Secret-1"), "only three count")

		w.clock.Advance(11 * 24 * time.Hour)
		err = w.try(ann, "Secret-1")
		require.Equal(t, fault.KindUnauthorized, fault.KindOf(err))
		require.Contains(t, fault.Message(err), "expired")
		require.NotContains(t, fault.Message(w.try(ann, "wrong-1")), "expired", "only who knows the password learns that")
		require.NoError(t, change("Secret-1", "Secret-9"))
		require.NoError(t, w.try(ann, "Secret-9"))
		reset := "Secret-9"
		u, err := w.UpdateUser(ctx, w.ann, &reset, func(*identity.User) error { return nil })
		require.NoError(t, err, "history and age are not for administrators")
		require.Equal(t, w.clock.Now().Add(10*24*time.Hour).UTC(), u.PasswordExpiresAt.UTC())
		list, err := w.Users(ctx, identity.UserFilter{PasswordExpires: []identity.Comparison{{Op: "lt", At: w.clock.Now()}}})
		require.NoError(t, err)
		require.Empty(t, list)
		list, err = w.Users(ctx, identity.UserFilter{Name: "ann", PasswordExpires: []identity.Comparison{{Op: "gt", At: w.clock.Now()}}})
		require.NoError(t, err)
		require.Len(t, list, 1)
	})
}

func TestFirstUseAndInactivity(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w, ann := secured(t, d, identity.Security{ChangeOnFirstUse: true, InactiveDays: 30})
		require.ErrorContains(t, w.try(ann, "Secret-1"), "expired")
		require.NoError(t, w.ChangePassword(ctx, w.ann, "Secret-1", "Secret-2", ""))
		require.NoError(t, w.try(ann, "Secret-2"))
		tok, _, err := w.IssueToken(ctx, identity.AuthRequest{Methods: []string{"password"}, User: ann, Password: "Secret-2"})
		require.NoError(t, err)
		w.valid(tok)

		w.clock.Advance(31 * 24 * time.Hour)
		require.Error(t, w.try(ann, "Secret-2"))
		u, err := w.User(ctx, w.ann)
		require.NoError(t, err)
		require.False(t, u.Enabled)
		_, err = w.UpdateUser(ctx, w.ann, nil, func(u *identity.User) error { u.Name = "anna"; return nil })
		require.NoError(t, err)
		require.Error(t, w.try(ann, "Secret-2"), "another change wakes nobody")
		_, err = w.UpdateUser(ctx, w.ann, nil, func(u *identity.User) error { u.Enabled, u.Woken = true, true; return nil })
		require.NoError(t, err)
		require.NoError(t, w.try(ann, "Secret-2"))
	})
}

func TestHashIsUpgradedAtLogIn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w, ann := secured(t, d, identity.Security{})
		dearer := identitytest.With(t, identity.Deps{DB: d, Clock: w.clock, BcryptCost: 5})
		tok, _, err := w.IssueToken(ctx, identity.AuthRequest{Methods: []string{"password"}, User: ann, Password: "Secret-1"})
		require.NoError(t, err)
		cost := func() (s string) {
			require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
				return tx.Get(ctx, &s, `SELECT substr(password, 1, 7) FROM identity_users WHERE id = ?`, w.ann)
			}))
			return s
		}
		require.Equal(t, "$2a$04$", cost())
		_, _, err = dearer.IssueToken(ctx, identity.AuthRequest{Methods: []string{"password"}, User: ann, Password: "Secret-1"})
		require.NoError(t, err)
		require.Equal(t, "$2a$05$", cost())
		w.valid(tok)
	})
}

func TestGuessingIsSlowedDown(t *testing.T) {
	t.Parallel()
	w, ann := secured(t, dbtest.SQLite(t, rooms...), identity.Security{})
	kinds := func(ref identity.UserRef) (refused, throttled int) {
		for range 40 {
			switch fault.KindOf(w.try(ref, "wrong")) {
			case fault.KindUnauthorized:
				refused++
			case fault.KindRateLimited:
				throttled++
			}
		}
		return refused, throttled
	}
	refused, throttled := kinds(ann)
	require.Equal(t, 40, refused+throttled)
	require.Equal(t, 20, throttled)
	nobody, none := kinds(identity.UserRef{Name: "nobody", Domain: identity.DomainRef{ID: "default"}})
	require.Equal(t, [2]int{refused, throttled}, [2]int{nobody, none}, "the same for a user who does not exist")
	require.Equal(t, fault.KindRateLimited, fault.KindOf(w.try(ann, "Secret-1")), "also with the right password: else guesses would go on")
	_, _, err := w.IssueToken(context.Background(), identity.AuthRequest{Methods: []string{"password"}, User: ann, Password: "Secret-1", From: "198.51.100.7"})
	require.NoError(t, err, "from elsewhere the user is let in")
	w.clock.Advance(time.Second)
	require.NoError(t, w.try(ann, "Secret-1"))
	for range 100 {
		require.NoError(t, w.try(ann, "Secret-1"), "good ones are free")
	}
}

func TestTOTPAndFactors(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w, ann := secured(t, d, identity.Security{})
		// RFC 6238, appendix B: of this seed the code at 59 s (SHA-1, eight digits) is 94287082.
		seed := base32.StdEncoding.EncodeToString([]byte("12345678901234567890"))
		w.clock.Advance(time.Unix(20*365*24*3600, 0).Add(40 * 365 * 24 * time.Hour).Sub(w.clock.Now()))
		_, err := w.CreateCredential(ctx, identity.Credential{UserID: w.ann, Type: "totp", Blob: strings.TrimRight(seed, "=")})
		require.NoError(t, err)
		code := func(back time.Duration) string { return identity.Passcode(seed, w.clock.Now().Add(-back)) }
		require.Equal(t, "287082", identity.Passcode(seed, time.Unix(59, 0)))
		totp := func(c string) (string, error) {
			tok, _, err := w.IssueToken(ctx, identity.AuthRequest{Methods: []string{"totp"}, TOTP: identity.TOTPLogIn{User: ann, Passcode: c}})
			return tok, err
		}
		first := code(0)
		_, err = totp(first)
		require.NoError(t, err)
		_, err = totp(first)
		require.Equal(t, fault.KindUnauthorized, fault.KindOf(err), "once only")
		w.clock.Advance(31 * time.Second)
		last := code(0)
		w.clock.Advance(30 * time.Second)
		_, err = totp(last)
		require.NoError(t, err, "the step before counts too")
		w.clock.Advance(5 * time.Minute)
		for _, bad := range []string{"", "000000x", code(90 * time.Second)} {
			_, err = totp(bad)
			require.Equal(t, fault.KindUnauthorized, fault.KindOf(err), bad)
		}

		// Two factors: one brings a receipt, the receipt and the other a token.
		_, err = w.UpdateUser(ctx, w.ann, nil, func(u *identity.User) error {
			u.Options.V = identity.Options{"multi_factor_auth_rules": []byte(`[["password", "totp"], ["nosuch"]]`)}
			return nil
		})
		require.NoError(t, err)
		var more *identity.MoreMethodsError
		require.ErrorAs(t, w.try(ann, "Secret-1"), &more)
		require.Equal(t, fault.KindUnauthorized, fault.KindOf(more))
		require.Equal(t, [][]string{{"password", "totp"}}, more.Required)
		w.invalid(more.Receipt)
		request := identity.AuthRequest{Methods: []string{"totp"}, Receipt: more.Receipt, TOTP: identity.TOTPLogIn{User: ann, Passcode: code(0)}}
		tok, _, err := w.IssueToken(ctx, request)
		require.NoError(t, err)
		w.valid(tok)
		_, again, err := w.IssueToken(ctx, identity.AuthRequest{Methods: []string{"token"}, Token: tok})
		require.NoError(t, err, "the token carries its methods")
		require.ElementsMatch(t, []string{"password", "totp", "token"}, again.Methods)

		w.clock.Advance(identity.ReceiptTTL)
		request.TOTP.Passcode = code(0)
		_, _, err = w.IssueToken(ctx, request)
		require.Equal(t, fault.KindUnauthorized, fault.KindOf(err))
		require.False(t, errors.As(err, &more) && err == error(more), "a receipt that is over is worth nothing")
	})
}

func TestCredentialKeysRotate(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		w, _ := secured(t, d, identity.Security{})
		c, err := w.CreateCredential(ctx, identity.Credential{UserID: w.ann, Type: "cert", Blob: "very secret"})
		require.NoError(t, err)
		con, err := w.CreateConsumer(ctx, identity.Consumer{})
		require.NoError(t, err)
		_, err = w.SetDomainConfig(ctx, "default", identity.DomainConfig{"ldap": {"password": []byte(`"hush"`), "url": []byte(`"ldap://x"`)}})
		require.NoError(t, err)
		stored := func() (all string) {
			require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
				for _, q := range []string{`SELECT blob FROM identity_credentials`, `SELECT secret FROM identity_consumers`, `SELECT value FROM identity_domain_config WHERE name = 'password'`} {
					var s string
					if err := tx.Get(ctx, &s, q); err != nil {
						return err
					}
					all += s + "\n"
				}
				return nil
			}))
			return all
		}
		before := stored()
		for _, secret := range []string{"very secret", con.Secret, "hush"} {
			require.NotContains(t, before, secret)
		}
		for range 4 {
			require.NoError(t, w.RotateCredentialKeys(ctx))
		}
		require.NotEqual(t, before, stored())
		other := identitytest.With(t, identity.Deps{DB: d, Clock: w.clock})
		for _, s := range []*identity.Service{w.Service, other} {
			got, err := s.Credential(ctx, c.ID)
			require.NoError(t, err)
			require.Equal(t, "very secret", got.Blob)
		}
		conf, err := w.DomainConfig(ctx, "default", "", "")
		require.NoError(t, err)
		require.Equal(t, identity.DomainConfig{"ldap": {"url": []byte(`"ldap://x"`)}}, conf, "secret options are not shown")
	})
}
