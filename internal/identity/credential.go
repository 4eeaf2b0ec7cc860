package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/fernet/fernet-go"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Credential is a secret that must be known in clear to check something: an EC2 key pair, a TOTP seed, or what clients keep here. Blob is
// in clear in everything that leaves the package, and sealed in the database.
type Credential struct {
	ID              string         `db:"id"` // of type ec2 the SHA-256 of the access key, in hex
	UserID          string         `db:"user_id"`
	ProjectID       string         `db:"project_id"` // "" = none
	Type            string         `db:"type"`
	Blob            string         `db:"blob"`
	TrustID         string         `db:"trust_id"`          // the rights of the token that made it, as far as they were borrowed
	AppCredentialID string         `db:"app_credential_id"` // the same
	UsedStep        int64          `db:"used_step"`         // newest TOTP step that was taken
	Extra           db.JSON[Extra] `db:"extra"`
}

// CredentialFilter selects credentials; empty fields select all.
type CredentialFilter struct{ UserID, Type, ProjectID string }

// typeEC2 is the credentials that OS-EC2 shows.
const typeEC2 = "ec2"

// ec2Blob is the blob of type ec2.
type ec2Blob struct {
	Access string `json:"access"`
	Secret string `json:"secret"`
	Trust  string `json:"trust_id,omitempty"`
}

func readEC2(blob string) (ec2Blob, error) {
	var b ec2Blob
	if json.Unmarshal([]byte(blob), &b) != nil || b.Access == "" {
		return b, fault.Invalid("blob", "Invalid blob in credential: for type ec2 it must be a JSON object with access and secret.")
	}
	return b, nil
}

func ec2ID(access string) string {
	sum := sha256.Sum256([]byte(access))
	return hex.EncodeToString(sum[:])
}

// CreateCredential stores one; its id is chosen here. 400: an ec2 blob that is none, or without a project; an unknown user. 409: the access key
// is taken.
func (s *Service) CreateCredential(ctx context.Context, c Credential) (*Credential, error) {
	c.ID = newID()
	if c.Type == typeEC2 {
		b, err := readEC2(c.Blob)
		if err != nil {
			return nil, err
		}
		if c.ProjectID == "" {
			return nil, fault.Invalid("project_id", "project_id is required for EC2 credentials.")
		}
		c.ID = ec2ID(b.Access)
	}
	clear := c.Blob
	sealed, err := s.vault.seal(ctx, []byte(clear))
	if err != nil {
		return nil, err
	}
	c.Blob = sealed
	err = s.write(ctx, func(tx *db.Tx) error {
		if _, err := userByID(ctx, tx, c.UserID); err != nil {
			return asInvalid("user_id", err)
		}
		err := tx.Insert(ctx, "identity_credentials", c)
		if db.IsUnique(err) {
			return fault.Conflict("Conflict occurred attempting to store credential - Duplicate entry found with ID %s.", c.ID)
		}
		return err
	})
	c.Blob = clear
	return &c, err
}

// asInvalid turns a 404 for something that a body names into a 400.
func asInvalid(field string, err error) error {
	if fault.IsNotFound(err) {
		return fault.Invalid(field, "%s", fault.Message(err))
	}
	return err
}

// Credential looks one up.
func (s *Service) Credential(ctx context.Context, id string) (*Credential, error) {
	c := &Credential{}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return get(ctx, tx, c, "credential", id, `SELECT * FROM identity_credentials WHERE id = ?`, id)
	})
	if err != nil {
		return nil, err
	}
	return c, s.unseal(ctx, c)
}

func (s *Service) unseal(ctx context.Context, c *Credential) error {
	clear := s.vault.open(ctx, c.Blob)
	if clear == nil {
		return fmt.Errorf("credential %s: no key opens it", c.ID)
	}
	c.Blob = string(clear)
	return nil
}

// Credentials lists them by id.
func (s *Service) Credentials(ctx context.Context, f CredentialFilter) ([]Credential, error) {
	var w where
	w.eq("user_id", f.UserID)
	w.eq("type", f.Type)
	w.eq("project_id", f.ProjectID)
	var out []Credential
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, "SELECT * FROM identity_credentials"+w.text()+" ORDER BY id", w.args...)
	})
	for i := range out {
		if err := s.unseal(ctx, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, err
}

// UpdateCredential changes one by edit, which must not change the id. Of type ec2 the id stays that of the first access key (Keystone), and a key
// pair is found by its id: with another access key it signs nothing any more.
func (s *Service) UpdateCredential(ctx context.Context, id string, edit func(*Credential) error) (*Credential, error) {
	var c *Credential
	s.vault.refresh(ctx, CacheAge) // not within the transaction
	err := s.write(ctx, func(tx *db.Tx) error {
		c = &Credential{}
		if err := get(ctx, tx, c, "credential", id, `SELECT * FROM identity_credentials WHERE id = ?`, id); err != nil {
			return err
		}
		clear := openWith(s.vault.active(), c.Blob)
		if clear == nil {
			return fmt.Errorf("credential %s: no key opens it", id)
		}
		c.Blob = string(clear)
		before := *c
		if err := edit(c); err != nil {
			return err
		}
		if c.Type == typeEC2 {
			if _, err := readEC2(c.Blob); err != nil {
				return err
			}
			if c.ProjectID == "" {
				return fault.Invalid("project_id", "project_id is required for EC2 credentials.")
			}
		}
		if c.UserID != before.UserID {
			if _, err := userByID(ctx, tx, c.UserID); err != nil {
				return asInvalid("user_id", err)
			}
		}
		if c.Blob != before.Blob {
			c.UsedStep = 0
		}
		row := *c
		var err error
		if row.Blob, err = sealWith(s.vault.active()[0], []byte(c.Blob)); err != nil {
			return err
		}
		_, err = tx.NamedExec(ctx, `UPDATE identity_credentials SET user_id = :user_id, project_id = :project_id, type = :type, blob = :blob,
			used_step = :used_step, extra = :extra WHERE id = :id`, row)
		return err
	})
	return c, err
}

// DeleteCredential removes one.
func (s *Service) DeleteCredential(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM identity_credentials WHERE id = ?`, id)
		return affected(n, err, "credential", id)
	})
}

// EC2Pair is an EC2 credential as OS-EC2 shows it.
type EC2Pair struct{ Access, Secret, UserID, ProjectID, TrustID string }

// CreateEC2 makes a key pair for a user in a project. t is the token that asks: what it borrowed, the pair borrows too, so that it gives no more and
// ends with it.
func (s *Service) CreateEC2(ctx context.Context, t *Token, userID, projectID string) (*EC2Pair, error) {
	if _, err := s.User(ctx, userID); err != nil {
		return nil, err
	}
	if _, err := s.Project(ctx, projectID); err != nil {
		return nil, asInvalid("tenant_id", err)
	}
	if t.AccessTokenID != "" {
		return nil, fault.Forbidden("An OAuth access token cannot make EC2 credentials.")
	}
	p := &EC2Pair{Access: newID(), Secret: newID(), UserID: userID, ProjectID: projectID}
	c := Credential{UserID: userID, ProjectID: projectID, Type: typeEC2}
	if t.Trust != nil {
		p.TrustID, c.TrustID = t.Trust.ID, t.Trust.ID
	}
	if t.AppCredential != nil {
		c.AppCredentialID = t.AppCredential.ID
	}
	blob, err := json.Marshal(ec2Blob{Access: p.Access, Secret: p.Secret, Trust: p.TrustID})
	if err != nil {
		return nil, err
	}
	c.Blob = string(blob)
	_, err = s.CreateCredential(ctx, c)
	return p, err
}

// EC2Pairs lists a user's.
func (s *Service) EC2Pairs(ctx context.Context, userID string) ([]EC2Pair, error) {
	if _, err := s.User(ctx, userID); err != nil {
		return nil, err
	}
	cs, err := s.Credentials(ctx, CredentialFilter{UserID: userID, Type: typeEC2})
	var out []EC2Pair
	for _, c := range cs {
		p, err := pairOf(&c)
		if err != nil {
			return nil, err
		}
		out = append(out, *p)
	}
	return out, err
}

// EC2Pair looks one of a user's up by its access key.
func (s *Service) EC2Pair(ctx context.Context, userID, access string) (*EC2Pair, error) {
	c, err := s.Credential(ctx, ec2ID(access))
	if fault.IsNotFound(err) || err == nil && (c.UserID != userID || c.Type != typeEC2) {
		return nil, notFound("credential", access)
	}
	if err != nil {
		return nil, err
	}
	return pairOf(c)
}

func pairOf(c *Credential) (*EC2Pair, error) {
	b, err := readEC2(c.Blob)
	return &EC2Pair{Access: b.Access, Secret: b.Secret, UserID: c.UserID, ProjectID: c.ProjectID, TrustID: c.TrustID}, err
}

// DeleteEC2 removes one of a user's pairs.
func (s *Service) DeleteEC2(ctx context.Context, userID, access string) error {
	if _, err := s.EC2Pair(ctx, userID, access); err != nil {
		return err
	}
	return s.DeleteCredential(ctx, ec2ID(access))
}

// sealedColumns are all places where the credential keys have sealed something. Cells hold a message or nothing.
var sealedColumns = []struct{ table, column, key string }{
	{"identity_credentials", "blob", "id"}, {"identity_consumers", "secret", "id"}, {"identity_request_tokens", "secret", "id"}, {"identity_access_tokens", "secret", "id"},
	{"identity_domain_config", "value", "domain_id || '/' || section || '/' || name"},
}

// RotateCredentialKeys makes the staged credential key the primary and seals everything anew with it, in one transaction: a crash leaves all
// or nothing. Older keys are then needed by nothing.
func (s *Service) RotateCredentialKeys(ctx context.Context) error {
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "identity"); err != nil {
			return err
		}
		before, err := s.vault.rows(ctx, tx)
		if err != nil {
			return err
		}
		old, err := s.vault.unseal(before)
		if err != nil {
			return err
		}
		keys, err := s.vault.rotate(ctx, tx, MaxActiveKeys, 0)
		if err != nil {
			return err
		}
		for _, c := range sealedColumns {
			if err := reseal(ctx, tx, c.table, c.column, c.key, old, keys[0]); err != nil {
				return fmt.Errorf("%s: %w", c.table, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rotate credential keys: %w", err)
	}
	s.moved()
	return s.vault.load(ctx)
}

func reseal(ctx context.Context, tx *db.Tx, table, column, key string, old []*fernet.Key, with *fernet.Key) error {
	var rows []struct {
		Key  string `db:"k"`
		Text string `db:"v"`
	}
	if err := tx.Select(ctx, &rows, `SELECT `+key+` AS k, `+column+` AS v FROM `+table); err != nil {
		return err
	}
	for _, r := range rows {
		clear := openWith(old, r.Text)
		if clear == nil {
			if table == "identity_domain_config" {
				continue // an option that is no secret is kept as it is
			}
			return fmt.Errorf("%s %s: no key opens it", column, r.Key)
		}
		text, err := sealWith(with, clear)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE `+table+` SET `+column+` = ? WHERE `+key+` = ?`, text, r.Key); err != nil {
			return err
		}
	}
	return nil
}

// randomText is a secret of n random bytes in URL-safe base64.
func randomText(n int) (string, error) {
	raw := make([]byte, n)
	_, err := rand.Read(raw)
	return base64URL(raw), err
}
