package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// DefaultRegion is the region's id where none is given.
const DefaultRegion = "RegionOne"

// Bootstrap is what a cloud must have to be used at all.
type Bootstrap struct {
	AdminPassword string // of user admin in the default domain; "" leaves an existing one
	Region        string // "": DefaultRegion
	Endpoints     []BootstrapEndpoint
}

// BootstrapEndpoint is one service of the catalog. Addresses may hold %(project_id)s.
type BootstrapEndpoint struct {
	Type, Name, Description string
	URL                     string // public, and for the other interfaces where they have none
	InternalURL, AdminURL   string
	LegacyURL               string // see Endpoint.LegacyURL; all three interfaces get it
	LegacyAdminURL          string // instead of LegacyURL, for the admin interface
}

// chain is the implied roles of OpenStack's personas: each implies the next.
var chain = []string{"admin", "manager", "member", "reader"}

// Bootstrap makes what is missing, as keystone-manage bootstrap does, in one transaction: at every start, with the same result. It brings
// back an admin who is locked out (enabled, roles, password) and puts right the addresses of the services named; it touches
// nothing else. A crash leaves all of it or nothing.
func (s *Service) Bootstrap(ctx context.Context, b Bootstrap) error {
	if b.Region == "" {
		b.Region = DefaultRegion
	}
	hash, err := s.bootstrapPassword(ctx, b.AdminPassword)
	if err != nil {
		return err
	}
	err = s.write(ctx, func(tx *db.Tx) error {
		if err := bootstrapPeople(ctx, tx, hash); err != nil {
			return err
		}
		if err := ensureRegion(ctx, tx, b.Region); err != nil {
			return err
		}
		for _, e := range b.Endpoints {
			if err := bootstrapService(ctx, tx, b.Region, e); err != nil {
				return fmt.Errorf("service %s: %w", e.Type, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bootstrap identity: %w", err)
	}
	return nil
}

// bootstrapPassword gives the hash to store, or "" if the stored one fits. Hashing is slow, so it is done outside of the transaction.
func (s *Service) bootstrapPassword(ctx context.Context, password string) (string, error) {
	u := &User{}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Get(ctx, u, `SELECT * FROM identity_users WHERE domain_id = ? AND name = 'admin'`, DefaultDomain)
	})
	switch {
	case errors.Is(err, db.ErrNoRows):
		if password == "" {
			return "", fault.Invalid("admin_password", "the first start needs a password for user admin")
		}
		return s.hasher.hash(ctx, password)
	case err != nil || password == "":
		return "", err
	}
	fits, err := s.hasher.matches(ctx, u.Password, password)
	if err != nil || fits {
		return "", err
	}
	return s.hasher.hash(ctx, password)
}

func bootstrapPeople(ctx context.Context, tx *db.Tx, hash string) error {
	if _, err := tx.Exec(ctx, `INSERT INTO identity_projects (id, name, domain_id, parent_id, is_domain, enabled, description)
			VALUES (?, 'Default', '', NULL, ?, ?, 'The default domain') ON CONFLICT (id) DO NOTHING`, DefaultDomain, true, true); err != nil {
		return err
	}
	admin := ""
	for _, p := range []struct{ name, text string }{{"admin", "Bootstrap project for initializing the cloud."}, {"service", "Project of the cloud's own services."}} {
		id, err := ensureProject(ctx, tx, p.name, p.text)
		if err != nil {
			return err
		}
		if p.name == "admin" {
			admin = id
		}
	}
	roles := map[string]string{}
	for _, name := range append([]string{"service"}, chain...) {
		var err error
		if roles[name], err = ensureRole(ctx, tx, name); err != nil {
			return err
		}
	}
	for i := 1; i < len(chain); i++ {
		if _, err := tx.Exec(ctx, `INSERT INTO identity_implied_roles (prior_id, implied_id) VALUES (?, ?) ON CONFLICT DO NOTHING`,
			roles[chain[i-1]], roles[chain[i]]); err != nil {
			return err
		}
	}
	user, err := ensureAdmin(ctx, tx, hash)
	if err != nil {
		return err
	}
	if err := addGrant(ctx, tx, Grant{UserID: user, Target: OnProject, TargetID: admin, RoleID: roles["admin"]}); err != nil {
		return err
	}
	return addGrant(ctx, tx, Grant{UserID: user, Target: OnSystem, RoleID: roles["admin"]})
}

func ensureProject(ctx context.Context, tx *db.Tx, name, description string) (string, error) {
	if _, err := tx.Exec(ctx, `INSERT INTO identity_projects (id, name, domain_id, parent_id, is_domain, enabled, description)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (domain_id, name) DO NOTHING`, newID(), name, DefaultDomain, DefaultDomain, false, true, description); err != nil {
		return "", err
	}
	var id string
	err := tx.Get(ctx, &id, `SELECT id FROM identity_projects WHERE domain_id = ? AND name = ?`, DefaultDomain, name)
	return id, err
}

func ensureRole(ctx context.Context, tx *db.Tx, name string) (string, error) {
	if _, err := tx.Exec(ctx, `INSERT INTO identity_roles (id, name, domain_id, description) VALUES (?, ?, '', '')
			ON CONFLICT (domain_id, name) DO NOTHING`, newID(), name); err != nil {
		return "", err
	}
	var id string
	err := tx.Get(ctx, &id, `SELECT id FROM identity_roles WHERE domain_id = '' AND name = ?`, name)
	return id, err
}

// ensureAdmin makes user admin, or enables it and gives it a new hash if there is one.
func ensureAdmin(ctx context.Context, tx *db.Tx, hash string) (string, error) {
	u := &User{}
	err := tx.Get(ctx, u, `SELECT * FROM identity_users WHERE domain_id = ? AND name = 'admin'`, DefaultDomain)
	if errors.Is(err, db.ErrNoRows) {
		u = &User{ID: newID(), Name: "admin", DomainID: DefaultDomain, Password: hash, Enabled: true}
		return u.ID, tx.Insert(ctx, "identity_users", u)
	}
	if err != nil {
		return "", err
	}
	if u.Enabled && hash == "" {
		return u.ID, nil
	}
	u.Enabled = true
	if hash != "" {
		u.Password = hash
		u.Epoch++
	}
	return u.ID, storeUser(ctx, tx, u)
}

// bootstrapService makes a service with its three endpoints in the region, or corrects their addresses (the port offset may have changed).
func bootstrapService(ctx context.Context, tx *db.Tx, region string, b BootstrapEndpoint) error {
	c := CatalogService{}
	err := tx.Get(ctx, &c, `SELECT * FROM identity_services WHERE type = ? AND name = ? ORDER BY id LIMIT 1`, b.Type, b.Name)
	if errors.Is(err, db.ErrNoRows) {
		text, _ := json.Marshal(b.Description)
		c = CatalogService{ID: newID(), Type: b.Type, Name: b.Name, Enabled: true, Extra: db.AsJSON(Extra{"description": text})}
		err = tx.Insert(ctx, "identity_services", c)
	}
	if err != nil {
		return err
	}
	for iface, url := range map[string]string{"public": b.URL, "internal": or(b.InternalURL, b.URL), "admin": or(b.AdminURL, b.URL)} {
		legacy := b.LegacyURL
		if iface == "admin" {
			legacy = or(b.LegacyAdminURL, legacy)
		}
		if err := bootstrapEndpoint(ctx, tx, Endpoint{ServiceID: c.ID, Interface: iface, RegionID: &region, URL: url, LegacyURL: legacy, Enabled: true}); err != nil {
			return err
		}
	}
	return nil
}

func bootstrapEndpoint(ctx context.Context, tx *db.Tx, want Endpoint) error {
	if err := checkURL(want.URL); err != nil {
		return err
	}
	have := Endpoint{}
	err := tx.Get(ctx, &have, `SELECT * FROM identity_endpoints WHERE service_id = ? AND interface = ? AND region_id = ? ORDER BY id LIMIT 1`,
		want.ServiceID, want.Interface, *want.RegionID)
	if errors.Is(err, db.ErrNoRows) {
		want.ID = newID()
		return tx.Insert(ctx, "identity_endpoints", want)
	}
	if err != nil || have.URL == want.URL && have.LegacyURL == want.LegacyURL {
		return err
	}
	have.URL, have.LegacyURL = want.URL, want.LegacyURL
	return storeEndpoint(ctx, tx, &have)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
