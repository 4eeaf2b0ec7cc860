package identity

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Security are the PCI-DSS rules of Keystone's [security_compliance] section. The zero value asks for nothing.
type Security struct {
	LockoutFailures  int           // failed log-ins after which a user is locked; 0: never
	LockoutDuration  time.Duration // 0: DefaultLockout
	PasswordDays     int           // a new password expires after so many days; 0: never
	UniquePasswords  int           // a user's new password must not be one of so many last ones, the current one included; 0: any
	MinimumAgeDays   int           // before a user may change the password again; 0: at once
	Regex            string        // what a password must match; "": anything
	RegexDescription string        // for people
	InactiveDays     int           // a user who has not logged in for so long counts as disabled; 0: never
	ChangeOnFirstUse bool          // a password that an administrator set must be changed before the first token

	regex *regexp.Regexp
}

// DefaultLockout is Keystone's lockout_duration.
const DefaultLockout = 1800 * time.Second

const day = 24 * time.Hour

func (c Security) checked() (Security, error) {
	if c.LockoutDuration <= 0 {
		c.LockoutDuration = DefaultLockout
	}
	if c.LockoutFailures < 0 || c.PasswordDays < 0 || c.UniquePasswords < 0 || c.MinimumAgeDays < 0 || c.InactiveDays < 0 {
		return c, fmt.Errorf("security compliance: numbers must not be negative")
	}
	if c.PasswordDays > 0 && c.MinimumAgeDays >= c.PasswordDays {
		return c, fmt.Errorf("security compliance: minimum_password_age %d must be less than password_expires_days %d", c.MinimumAgeDays, c.PasswordDays)
	}
	if c.Regex != "" {
		var err error
		if c.regex, err = regexp.Compile(c.Regex); err != nil {
			return c, fmt.Errorf("security compliance: password_regex: %w", err)
		}
	}
	return c, nil
}

// Security gives the rules in force.
func (s *Service) Security() Security { return s.security }

// checkStrength holds password_regex, for everybody's passwords whoever sets them.
func (c *Security) checkStrength(password string) error {
	if c.regex == nil || c.regex.MatchString(password) {
		return nil
	}
	text := c.RegexDescription
	if text == "" {
		text = "it does not match the pattern " + c.Regex
	}
	return fault.Invalid("password", "The password does not match the requirements: %s.", text)
}

// putPassword sets a new hash with what follows from it: the former one becomes history, the expiry starts anew, tokens end.
func (s *Service) putPassword(ctx context.Context, tx *db.Tx, u *User, hash string, byUser bool) error {
	now := db.At(s.clock.Now())
	if u.Password != "" && s.security.UniquePasswords > 1 {
		if _, err := tx.Exec(ctx, `INSERT INTO identity_passwords (user_id, set_at, hash) VALUES (?, ?, ?)
				ON CONFLICT (user_id, set_at) DO UPDATE SET hash = excluded.hash`, u.ID, u.PasswordSetAt, u.Password); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM identity_passwords WHERE user_id = ? AND set_at NOT IN
				(SELECT set_at FROM identity_passwords WHERE user_id = ? ORDER BY set_at DESC LIMIT ?)`, u.ID, u.ID, s.security.UniquePasswords-1); err != nil {
			return err
		}
	}
	u.Password, u.PasswordSetAt, u.SelfService = hash, now, byUser
	u.PasswordExpiresAt = s.passwordEnd(u, byUser)
	u.Epoch++
	return nil
}

// passwordEnd is when a password set now expires; zero: never.
func (s *Service) passwordEnd(u *User, byUser bool) db.Time {
	now := s.clock.Now()
	switch {
	case u.Password == "":
		return db.Time{}
	case s.security.ChangeOnFirstUse && !byUser && !u.Options.V.True("ignore_change_password_upon_first_use"):
		return db.At(now)
	case s.security.PasswordDays > 0 && !u.Options.V.True("ignore_password_expiry"):
		return db.At(now.Add(time.Duration(s.security.PasswordDays) * day))
	}
	return db.Time{}
}

// expired says whether the password must be changed before the next log-in.
func (s *Service) expired(u *User) bool {
	return !u.PasswordExpiresAt.IsZero() && !u.Options.V.True("ignore_password_expiry") && !s.clock.Now().Before(u.PasswordExpiresAt.Time)
}

// dormant says whether a user counts as disabled for not having logged in.
func (s *Service) dormant(u *User) bool {
	if s.security.InactiveDays == 0 || u.Options.V.True("ignore_user_inactivity") {
		return false
	}
	last := u.LastActive
	if last.IsZero() {
		last = u.CreatedAt
	}
	return !last.IsZero() && s.clock.Since(last.Time) > time.Duration(s.security.InactiveDays)*day
}

// locked says whether too many log-ins of the user have failed of late.
func (s *Service) locked(ctx context.Context, u *User) (bool, error) {
	if s.security.LockoutFailures == 0 || u.ID == "" || u.Options.V.True("ignore_lockout_failure_attempts") {
		return false, nil
	}
	var f struct {
		Count    int     `db:"count"`
		FailedAt db.Time `db:"failed_at"`
	}
	var rows int
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		if err := tx.Get(ctx, &rows, `SELECT COUNT(*) FROM identity_failures WHERE user_id = ?`, u.ID); err != nil || rows == 0 {
			return err
		}
		return tx.Get(ctx, &f, `SELECT count, failed_at FROM identity_failures WHERE user_id = ?`, u.ID)
	})
	return f.Count >= s.security.LockoutFailures && s.clock.Since(f.FailedAt.Time) < s.security.LockoutDuration, err
}

// noteFailure counts a failed log-in, also of nobody: both take the time of a write. A lock that has run out begins a new count.
func (s *Service) noteFailure(ctx context.Context, userID string) error {
	if s.security.LockoutFailures == 0 {
		return nil
	}
	now := s.clock.Now()
	return s.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO identity_failures (user_id, count, failed_at) VALUES (?, 1, ?) ON CONFLICT (user_id) DO UPDATE SET
				count = CASE WHEN identity_failures.failed_at < ? THEN 1 ELSE identity_failures.count + 1 END, failed_at = excluded.failed_at`,
			userID, db.At(now), db.At(now.Add(-s.security.LockoutDuration)))
		return err
	})
}

// noteSuccess forgets failures, remembers the day, and stores a hash of today's cost in place of an older one.
func (s *Service) noteSuccess(ctx context.Context, u *User, password string) error {
	hash := ""
	if s.hasher.outdated(u.Password) {
		var err error
		if hash, err = s.hasher.hash(ctx, password); err != nil {
			return err
		}
	}
	now := s.clock.Now()
	active := s.security.InactiveDays > 0 && now.Sub(u.LastActive.Time) > day
	if hash == "" && !active && s.security.LockoutFailures == 0 {
		return nil
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if s.security.LockoutFailures > 0 {
			if _, err := tx.Exec(ctx, `DELETE FROM identity_failures WHERE user_id = ?`, u.ID); err != nil {
				return err
			}
		}
		if active {
			if _, err := tx.Exec(ctx, `UPDATE identity_users SET last_active = ? WHERE id = ?`, db.At(now), u.ID); err != nil {
				return err
			}
		}
		if hash == "" {
			return nil
		}
		_, err := tx.Exec(ctx, `UPDATE identity_users SET password = ? WHERE id = ? AND password = ?`, hash, u.ID, u.Password)
		return err // of a password that was changed meanwhile nothing is touched
	})
}

// checkChange holds the rules for a change by the user: the lock, the minimum age, the history.
func (s *Service) checkChange(ctx context.Context, u *User, password string) error {
	if u.Options.V.True("lock_password") {
		return fault.Invalid("password", "Cannot change password for user %s: the password is locked.", u.ID)
	}
	age := time.Duration(s.security.MinimumAgeDays) * day
	if age > 0 && u.SelfService && s.clock.Since(u.PasswordSetAt.Time) < age {
		return fault.Invalid("password", "Cannot change password before minimum age of %d days is reached.", s.security.MinimumAgeDays)
	}
	if s.security.UniquePasswords == 0 {
		return nil
	}
	old := []string{u.Password}
	var former []string
	if err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &former, `SELECT hash FROM identity_passwords WHERE user_id = ? ORDER BY set_at DESC LIMIT ?`, u.ID, s.security.UniquePasswords-1)
	}); err != nil {
		return err
	}
	for _, h := range append(old, former...) {
		same, err := s.hasher.matches(ctx, h, password)
		if err != nil {
			return err
		}
		if same {
			return fault.Invalid("password", "Password validation error: The new password cannot be identical to a previous password. The total number which includes the new password must be unique is %d.", s.security.UniquePasswords)
		}
	}
	return nil
}
