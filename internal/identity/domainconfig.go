package identity

import (
	"context"
	"encoding/json"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// DomainConfig is options of a domain, by section and name, as JSON values.
type DomainConfig map[string]map[string]json.RawMessage

// The sections and options that Keystone lets a domain have, with what it says where a domain has none. nephos keeps and shows them; it has one driver for
// users, its own tables, so they change nothing here.
var domainOptions = DomainConfig{
	"identity": {"driver": raw(`"sql"`), "list_limit": raw(`null`)},
	"ldap": {
		"url": raw(`"ldap://localhost"`), "user": raw(`null`), "suffix": raw(`"cn=example,cn=com"`), "query_scope": raw(`"one"`), "page_size": raw(`0`),
		"alias_dereferencing": raw(`"default"`), "debug_level": raw(`null`), "chase_referrals": raw(`null`),
		"user_tree_dn": raw(`null`), "user_filter": raw(`null`), "user_objectclass": raw(`"inetOrgPerson"`), "user_id_attribute": raw(`"cn"`), "user_name_attribute": raw(`"sn"`),
		"user_description_attribute": raw(`"description"`), "user_mail_attribute": raw(`"mail"`), "user_pass_attribute": raw(`"userPassword"`),
		"user_enabled_attribute": raw(`"enabled"`), "user_enabled_invert": raw(`false`), "user_enabled_mask": raw(`0`), "user_enabled_default": raw(`"True"`),
		"user_attribute_ignore": raw(`["default_project_id"]`), "user_default_project_id_attribute": raw(`null`), "user_enabled_emulation": raw(`false`),
		"user_enabled_emulation_dn": raw(`null`), "user_enabled_emulation_use_group_config": raw(`false`), "user_additional_attribute_mapping": raw(`[]`),
		"group_tree_dn": raw(`null`), "group_filter": raw(`null`), "group_objectclass": raw(`"groupOfNames"`), "group_id_attribute": raw(`"cn"`),
		"group_name_attribute": raw(`"ou"`), "group_member_attribute": raw(`"member"`), "group_members_are_ids": raw(`false`), "group_desc_attribute": raw(`"description"`),
		"group_attribute_ignore": raw(`[]`), "group_additional_attribute_mapping": raw(`[]`), "group_ad_nesting": raw(`false`),
		"tls_cacertfile": raw(`null`), "tls_cacertdir": raw(`null`), "use_tls": raw(`false`), "tls_req_cert": raw(`"demand"`), "connection_timeout": raw(`-1`),
		"use_pool": raw(`true`), "pool_size": raw(`10`), "pool_retry_max": raw(`3`), "pool_retry_delay": raw(`0.1`), "pool_connection_timeout": raw(`-1`),
		"pool_connection_lifetime": raw(`600`), "use_auth_pool": raw(`true`), "auth_pool_size": raw(`100`), "auth_pool_connection_lifetime": raw(`60`),
	},
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// secretOptions may be set and are never shown.
var secretOptions = []string{"password"}

func isSecret(section, name string) bool {
	return section == "ldap" && slices.Contains(secretOptions, name)
}

// checkOptions says 403 for what a domain may not have, as Keystone.
func checkOptions(c DomainConfig) error {
	if len(c) == 0 {
		return fault.Forbidden("Invalid domain specific configuration: no options specified.")
	}
	for section, options := range c {
		known, ok := domainOptions[section]
		if !ok {
			return fault.Forbidden("Invalid domain specific configuration: Group %s is not supported for domain specific configurations.", section)
		}
		if len(options) == 0 {
			return fault.Forbidden("Invalid domain specific configuration: no options specified in group %s.", section)
		}
		for name := range options {
			if known[name] == nil && !isSecret(section, name) {
				return fault.Forbidden("Invalid domain specific configuration: Option %s in group %s is not supported for domain specific configurations.", name, section)
			}
		}
	}
	return nil
}

// DomainDefaults gives what holds where a domain says nothing: all, a section, or one option. 403 for unknown ones (Keystone).
func DomainDefaults(section, name string) (DomainConfig, error) {
	if section == "" {
		return domainOptions, nil
	}
	if domainOptions[section] == nil {
		return nil, fault.Forbidden("Invalid domain specific configuration: Group %s is not supported for domain specific configurations.", section)
	}
	if name == "" {
		return DomainConfig{section: domainOptions[section]}, nil
	}
	v, ok := domainOptions[section][name]
	if !ok {
		return nil, fault.Forbidden("Invalid domain specific configuration: Option %s in group %s is not supported for domain specific configurations.", name, section)
	}
	return DomainConfig{section: {name: v}}, nil
}

// SetDomainConfig replaces all of a domain's options; created says that there were none.
func (s *Service) SetDomainConfig(ctx context.Context, domain string, c DomainConfig) (created bool, err error) {
	if err := checkOptions(c); err != nil {
		return false, err
	}
	s.vault.refresh(ctx, CacheAge)
	err = s.write(ctx, func(tx *db.Tx) error {
		if err := isDomain(ctx, tx, domain); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM identity_domain_config WHERE domain_id = ?`, domain)
		if err != nil {
			return err
		}
		created = n == 0
		return s.storeOptions(ctx, tx, domain, c)
	})
	return created, err
}

func isDomain(ctx context.Context, tx *db.Tx, id string) error {
	p, err := projectByID(ctx, tx, id)
	if fault.IsNotFound(err) || err == nil && !p.IsDomain {
		return notFound("domain", id)
	}
	return err
}

func (s *Service) storeOptions(ctx context.Context, tx *db.Tx, domain string, c DomainConfig) error {
	for section, options := range c {
		for name, value := range options {
			text := string(value)
			if isSecret(section, name) {
				var err error
				if text, err = sealWith(s.vault.active()[0], value); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(ctx, `INSERT INTO identity_domain_config (domain_id, section, name, value) VALUES (?, ?, ?, ?)
					ON CONFLICT (domain_id, section, name) DO UPDATE SET value = excluded.value`, domain, section, name, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// UpdateDomainConfig sets some options. With a section, and perhaps a name, the change may name nothing else (403) and the section or option must be
// there already (404).
func (s *Service) UpdateDomainConfig(ctx context.Context, domain, section, name string, c DomainConfig) error {
	if err := checkOptions(c); err != nil {
		return err
	}
	if section != "" && (len(c) != 1 || c[section] == nil || name != "" && (len(c[section]) != 1 || c[section][name] == nil)) {
		return fault.Forbidden("Invalid domain specific configuration: the body must name exactly what the URL names, %s %s.", section, name)
	}
	s.vault.refresh(ctx, CacheAge)
	return s.write(ctx, func(tx *db.Tx) error {
		if err := isDomain(ctx, tx, domain); err != nil {
			return err
		}
		if section != "" {
			if _, err := options(ctx, tx, domain, section, name, true); err != nil {
				return err
			}
		}
		return s.storeOptions(ctx, tx, domain, c)
	})
}

// options reads what is stored; nothing is a 404.
func options(ctx context.Context, tx *db.Tx, domain, section, name string, secrets bool) (DomainConfig, error) {
	var w where
	w.eq("domain_id", domain)
	w.eq("section", section)
	w.eq("name", name)
	var rows []struct {
		Section string `db:"section"`
		Name    string `db:"name"`
		Value   string `db:"value"`
	}
	if err := tx.Select(ctx, &rows, `SELECT section, name, value FROM identity_domain_config`+w.text(), w.args...); err != nil {
		return nil, err
	}
	out := DomainConfig{}
	for _, r := range rows {
		if isSecret(r.Section, r.Name) && !secrets {
			continue
		}
		if out[r.Section] == nil {
			out[r.Section] = map[string]json.RawMessage{}
		}
		out[r.Section][r.Name] = json.RawMessage(r.Value)
	}
	if len(out) == 0 {
		return nil, noConfig(domain, section, name)
	}
	return out, nil
}

func noConfig(domain, section, name string) error {
	what := "any options"
	switch {
	case name != "":
		what = "option " + name + " in group " + section
	case section != "":
		what = "group " + section
	}
	return fault.NotFound("Could not find %s in domain configuration for domain %s.", what, domain)
}

// DomainConfig reads a domain's options: all, a section, or one; secret ones are left out. 404 if there are none.
func (s *Service) DomainConfig(ctx context.Context, domain, section, name string) (DomainConfig, error) {
	var out DomainConfig
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		if err := isDomain(ctx, tx, domain); err != nil {
			return err
		}
		out, err = options(ctx, tx, domain, section, name, false)
		return err
	})
	return out, err
}

// DeleteDomainConfig removes a domain's options: all, a section, or one; 404 if there are none.
func (s *Service) DeleteDomainConfig(ctx context.Context, domain, section, name string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		if err := isDomain(ctx, tx, domain); err != nil {
			return err
		}
		var w where
		w.eq("domain_id", domain)
		w.eq("section", section)
		w.eq("name", name)
		n, err := tx.Exec(ctx, `DELETE FROM identity_domain_config`+w.text(), w.args...)
		if err == nil && n == 0 {
			return noConfig(domain, section, name)
		}
		return err
	})
}
