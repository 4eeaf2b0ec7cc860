package identity

import (
	"context"
	"strings"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// User is a person or a program. The password hash stays inside the package.
type User struct {
	ID               string           `db:"id"`
	Name             string           `db:"name"`
	DomainID         string           `db:"domain_id"`
	Password         string           `db:"password" json:"-"` // bcrypt; cleared in everything that leaves the package
	Enabled          bool             `db:"enabled"`
	DefaultProjectID string           `db:"default_project_id"` // "" = none; not checked for a role, as in Keystone
	Epoch            int64            `db:"epoch"`              // tokens of another epoch are void
	Options          db.JSON[Options] `db:"options"`
	Extra            db.JSON[Extra]   `db:"extra"` // email, description and what else clients store

	CreatedAt         db.Time `db:"created_at"`
	PasswordSetAt     db.Time `db:"password_set_at"`
	PasswordExpiresAt db.Time `db:"password_expires_at"` // zero: never
	SelfService       bool    `db:"self_service"`        // the user, not an administrator, has set the password
	Woken             bool    `db:"-"`                   // set by an edit that asks for an enabled user: one who counted as disabled for inactivity is active again
	LastActive        db.Time `db:"last_active"`         // of the last log-in with a password; only kept where InactiveDays is set
}

// UserFilter selects users; empty fields select all.
type UserFilter struct {
	Name, DomainID, GroupID, DefaultProjectID string
	Enabled                                   *bool
	PasswordExpires                           []Comparison
}

// Comparison is a condition on a time: lt, lte, gt, gte, eq or neq.
type Comparison struct {
	Op string
	At time.Time
}

var comparisons = map[string]string{"lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "eq": "=", "neq": "<>"}

// NewUser is what CreateUser needs.
type NewUser struct {
	Name, DomainID, Password, DefaultProjectID string
	Enabled                                    bool
	Options                                    Options
	Extra                                      Extra
}

// CreateUser makes a user. 404: unknown domain; 400: a bad name; 409: the name is taken in the domain.
func (s *Service) CreateUser(ctx context.Context, n NewUser) (*User, error) {
	if err := checkName("name", n.Name, 255); err != nil {
		return nil, err
	}
	if n.Password != "" {
		if err := s.security.checkStrength(n.Password); err != nil {
			return nil, err
		}
	}
	hash, err := s.hasher.hash(ctx, n.Password)
	if err != nil {
		return nil, err
	}
	u := &User{ID: newID(), Name: n.Name, DomainID: n.DomainID, Password: hash, Enabled: n.Enabled, DefaultProjectID: n.DefaultProjectID,
		Options: db.AsJSON(n.Options), Extra: db.AsJSON(n.Extra), CreatedAt: db.At(s.clock.Now())}
	if hash != "" {
		u.PasswordSetAt = u.CreatedAt
	}
	u.PasswordExpiresAt = s.passwordEnd(u, false)
	err = s.write(ctx, func(tx *db.Tx) error {
		if err := isDomain(ctx, tx, u.DomainID); err != nil {
			return err
		}
		if err := checkDefaultProject(ctx, tx, u.DefaultProjectID); err != nil {
			return err
		}
		return duplicate(tx.Insert(ctx, "identity_users", u), "user", u.Name)
	})
	return s.shown(u), err
}

// User looks one up. 404 if there is none.
func (s *Service) User(ctx context.Context, id string) (*User, error) {
	var u *User
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		u, err = userByID(ctx, tx, id)
		return err
	})
	return s.shown(u), err
}

// Users lists by name.
func (s *Service) Users(ctx context.Context, f UserFilter) ([]User, error) {
	var w where
	w.eq("name", f.Name)
	w.eq("domain_id", f.DomainID)
	w.eq("default_project_id", f.DefaultProjectID)
	if f.Enabled != nil {
		w.add("enabled = ?", *f.Enabled)
	}
	if f.GroupID != "" {
		w.add("id IN (SELECT user_id FROM identity_memberships WHERE group_id = ?)", f.GroupID)
	}
	for _, c := range f.PasswordExpires {
		op, ok := comparisons[c.Op]
		if !ok {
			return nil, fault.Invalid("password_expires_at", "Invalid input for query parameter password_expires_at: %s is none of lt, lte, gt, gte, eq, neq.", c.Op)
		}
		w.add("password_expires_at <> 0")
		w.add("password_expires_at "+op+" ?", db.At(c.At))
	}
	var out []User
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, "SELECT * FROM identity_users"+w.text()+" ORDER BY name, id", w.args...)
	})
	for i := range out {
		out[i] = *s.shown(&out[i])
	}
	return out, err
}

// UpdateUser changes a user by edit; password, where not nil, is the new one in clear. A new password or a disabled user voids all of
// the user's tokens. edit must not change ids.
func (s *Service) UpdateUser(ctx context.Context, id string, password *string, edit func(*User) error) (*User, error) {
	return s.updateUser(ctx, id, password, false, edit)
}

func (s *Service) updateUser(ctx context.Context, id string, password *string, byUser bool, edit func(*User) error) (*User, error) {
	hash := ""
	if password != nil {
		if *password != "" {
			if err := s.security.checkStrength(*password); err != nil {
				return nil, err
			}
		}
		var err error
		if hash, err = s.hasher.hash(ctx, *password); err != nil {
			return nil, err
		}
	}
	var u *User
	err := s.write(ctx, func(tx *db.Tx) (err error) {
		if u, err = userByID(ctx, tx, id); err != nil {
			return err
		}
		before := *u
		if err := edit(u); err != nil {
			return err
		}
		if err := checkName("name", u.Name, 255); err != nil {
			return err
		}
		if u.DomainID != before.DomainID {
			return fault.Invalid("domain_id", "Cannot change user's domain: domain_id is immutable.")
		}
		if u.DefaultProjectID != before.DefaultProjectID {
			if err := checkDefaultProject(ctx, tx, u.DefaultProjectID); err != nil {
				return err
			}
		}
		if password != nil {
			if err := s.putPassword(ctx, tx, u, hash, byUser); err != nil {
				return err
			}
		}
		if before.Enabled && !u.Enabled {
			u.Epoch++
		}
		if u.Enabled && u.Woken {
			if s.security.InactiveDays > 0 {
				u.LastActive = db.At(s.clock.Now())
			}
			if _, err := tx.Exec(ctx, `DELETE FROM identity_failures WHERE user_id = ?`, id); err != nil {
				return err
			}
		}
		if u.Epoch != before.Epoch {
			if err := s.revokeEvent(ctx, tx, RevokeEvent{UserID: id}); err != nil {
				return err
			}
		}
		return storeUser(ctx, tx, u)
	})
	return s.shown(u), err
}

// ChangePassword is the user's own change: 401 if the old password does not fit (or the user is disabled or locked), 400 if the user's password is
// locked against changes, too young, or one that the rules forbid. An expired password may be changed. from is where the client is.
func (s *Service) ChangePassword(ctx context.Context, id, old, password, from string) error {
	u, err := s.verify(ctx, UserRef{ID: id}, old, from)
	if err != nil {
		return err
	}
	if err := s.checkChange(ctx, u, password); err != nil {
		return err
	}
	_, err = s.updateUser(ctx, id, &password, true, func(*User) error { return nil })
	return err
}

// DeleteUser removes a user with memberships and assignments.
func (s *Service) DeleteUser(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM identity_failures WHERE user_id = ?`, id); err != nil {
			return err
		}
		if err := s.revokeEvent(ctx, tx, RevokeEvent{UserID: id}); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM identity_users WHERE id = ?`, id)
		return affected(n, err, "user", id)
	})
}

func userByID(ctx context.Context, tx *db.Tx, id string) (*User, error) {
	u := &User{}
	if err := get(ctx, tx, u, "user", id, `SELECT * FROM identity_users WHERE id = ?`, id); err != nil {
		return nil, err
	}
	return u, nil
}

func storeUser(ctx context.Context, tx *db.Tx, u *User) error {
	_, err := tx.NamedExec(ctx, `UPDATE identity_users SET name = :name, password = :password, enabled = :enabled,
		default_project_id = :default_project_id, epoch = :epoch, options = :options, extra = :extra, password_set_at = :password_set_at,
		password_expires_at = :password_expires_at, self_service = :self_service, last_active = :last_active WHERE id = :id`, u)
	return duplicate(err, "user", u.Name)
}

// shown is bare, with a dormant user disabled, as Keystone shows such.
func (s *Service) shown(u *User) *User {
	out := bare(u)
	if out != nil && s.dormant(out) {
		out.Enabled = false
	}
	return out
}

// bare is u without the password hash.
func bare(u *User) *User {
	if u == nil {
		return nil
	}
	out := *u
	out.Password = ""
	return &out
}

// checkName holds Keystone's rules for names of users, groups, roles and projects.
func checkName(field, name string, most int) error {
	if strings.TrimSpace(name) == "" {
		return fault.Invalid(field, "Invalid input for field '%s': the name must not be empty or blank.", field)
	}
	if n := len([]rune(name)); n > most {
		return fault.Invalid(field, "Invalid input for field '%s': the name has %d characters, at most %d are allowed.", field, n, most)
	}
	return nil
}

func checkDefaultProject(ctx context.Context, tx *db.Tx, id string) error {
	if id == "" {
		return nil
	}
	p, err := projectByID(ctx, tx, id)
	if fault.IsNotFound(err) {
		return nil // Keystone stores whatever is given
	}
	if err == nil && p.IsDomain {
		return fault.Invalid("default_project_id", "User's default project ID cannot be a domain ID: %s", id)
	}
	return err
}

// where collects the conditions of a list query.
type where struct {
	conds []string
	args  []any
}

func (w *where) add(cond string, args ...any) {
	w.conds = append(w.conds, cond)
	w.args = append(w.args, args...)
}

// eq adds column = v unless v is empty.
func (w *where) eq(column, v string) {
	if v != "" {
		w.add(column+" = ?", v)
	}
}

func (w *where) text() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}
