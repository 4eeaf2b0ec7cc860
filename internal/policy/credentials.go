package policy

import (
	"slices"
	"time"
)

// Credentials are what a valid token says about its bearer. They are shared between requests: never change one.
type Credentials struct {
	UserID            string
	UserName          string
	UserDomainID      string
	UserDomainName    string
	ProjectID         string // empty unless project scoped
	ProjectName       string
	ProjectDomainID   string
	ProjectDomainName string
	DomainID          string // domain scope
	DomainName        string
	System            bool     // system scope "all"
	Roles             []string // names, implied roles included
	RoleIDs           []string // parallel to Roles
	Methods           []string
	AuditIDs          []string
	IssuedAt          time.Time
	ExpiresAt         time.Time
	Ruled             bool         // an application credential with access rules: only the calls in AccessRules
	AccessRules       []AccessRule // empty with Ruled: no call at all
}

// HasRole says whether the role of that name is held.
func (c *Credentials) HasRole(name string) bool { return c != nil && slices.Contains(c.Roles, name) }

// IsAdmin is the admin role on any scope: today's default rules treat it as all-powerful, as OpenStack's legacy defaults do.
func (c *Credentials) IsAdmin() bool { return c.HasRole("admin") }

// attribute gives the value a rule's left side names, as oslo.policy's creds dictionary would.
func (c *Credentials) attribute(name string) (string, bool) {
	switch name {
	case "user_id":
		return c.UserID, true
	case "project_id", "tenant_id", "tenant":
		return c.ProjectID, true
	case "domain_id":
		return c.DomainID, true
	case "user_domain_id":
		return c.UserDomainID, true
	case "project_domain_id":
		return c.ProjectDomainID, true
	case "system_scope":
		if c.System {
			return "all", true
		}
		return "", true
	case "is_admin":
		if c.IsAdmin() {
			return "True", true
		}
		return "False", true
	case "is_admin_project": // oslo.context's value where Keystone has no project of that kind
		return "True", true
	case "user_name":
		return c.UserName, true
	case "project_name":
		return c.ProjectName, true
	case "token.project.domain.id":
		return c.ProjectDomainID, true
	case "token.user.domain.id":
		return c.UserDomainID, true
	}
	return "", false
}
