package client

import (
	"context"
	"fmt"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/applicationcredentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
)

// Role is the noun role.
type Role struct {
	Flags
	List   RoleList   `cmd:"" help:"List roles, or with --user or --project who has which."`
	Create RoleCreate `cmd:"" help:"Make a role."`
	Delete RoleDelete `cmd:"" help:"Delete roles."`
	Add    RoleAdd    `cmd:"" help:"Give a user a role in a project."`
	Remove RoleRemove `cmd:"" help:"Take a user's role in a project away."`
}

// RoleList lists.
type RoleList struct {
	User    string `placeholder:"U" help:"Assignments of this user."`
	Project string `placeholder:"P" help:"Assignments in this project."`
}

// Run lists roles or assignments.
func (v *RoleList) Run(ctx context.Context, s *Session) error {
	if v.User+v.Project != "" {
		return v.assignments(ctx, s)
	}
	all, err := s.roles(ctx)
	if err != nil {
		return err
	}
	l := listing{head: []string{"id", "name", "description"}, empty: "no roles"}
	for _, r := range all {
		l.add(r.ID, r.Name, r.Description)
	}
	return s.printList(l)
}

func (v *RoleList) assignments(ctx context.Context, s *Session) error {
	c, err := s.identity(ctx)
	if err != nil {
		return err
	}
	names := true
	opts := roles.ListAssignmentsOpts{IncludeNames: &names}
	if v.User != "" {
		u, err := s.userNamed(ctx, v.User)
		if err != nil {
			return err
		}
		opts.UserID = u.ID
	}
	if v.Project != "" {
		p, err := s.projectNamed(ctx, v.Project)
		if err != nil {
			return err
		}
		opts.ScopeProjectID = p.ID
	}
	pages, err := roles.ListAssignments(c, opts).AllPages(ctx)
	if err != nil {
		return err
	}
	all, err := roles.ExtractRoleAssignments(pages)
	if err != nil {
		return err
	}
	l := listing{head: []string{"role", "user", "group", "project", "domain"}, empty: "no roles there"}
	for _, a := range all {
		l.add(a.Role.Name, a.User.Name, a.Group.ID, a.Scope.Project.Name, a.Scope.Domain.Name)
	}
	return s.printList(l)
}

func (s *Session) roles(ctx context.Context) ([]roles.Role, error) {
	c, err := s.identity(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := roles.List(c, roles.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return roles.ExtractRoles(pages)
}

func (s *Session) roleNamed(ctx context.Context, want string) (roles.Role, error) {
	all, err := s.roles(ctx)
	if err != nil {
		return roles.Role{}, err
	}
	return pick("role", want, all, func(r roles.Role) (string, string) { return r.ID, r.Name })
}

// RoleCreate makes.
type RoleCreate struct {
	Name        string `arg:""`
	Description string `placeholder:"TEXT"`
}

// Run makes a role.
func (v *RoleCreate) Run(ctx context.Context, s *Session) error {
	c, err := s.identity(ctx)
	if err != nil {
		return err
	}
	r, err := roles.Create(ctx, c, roles.CreateOpts{Name: v.Name, Description: v.Description}).Extract()
	if err != nil {
		return err
	}
	return s.printFields([]field{{"id", r.ID}, {"name", r.Name}, {"description", r.Description}})
}

// RoleDelete deletes.
type RoleDelete struct {
	Roles []string `arg:"" name:"role" help:"Names or ids."`
}

// Run deletes roles.
func (v *RoleDelete) Run(ctx context.Context, s *Session) error {
	c, err := s.identity(ctx)
	if err != nil {
		return err
	}
	return forEach(v.Roles, func(want string) error {
		r, err := s.roleNamed(ctx, want)
		if err != nil {
			return err
		}
		return roles.Delete(ctx, c, r.ID).ExtractErr()
	})
}

// grant is who gets what where.
type grant struct {
	Role    string `arg:"" help:"Name or id."`
	User    string `required:"" placeholder:"U" help:"Name or id."`
	Project string `required:"" placeholder:"P" help:"Name or id."`
}

func (g *grant) find(ctx context.Context, s *Session) (c *gophercloud.ServiceClient, role, user, project string, err error) {
	if c, err = s.identity(ctx); err != nil {
		return
	}
	r, err := s.roleNamed(ctx, g.Role)
	if err != nil {
		return
	}
	u, err := s.userNamed(ctx, g.User)
	if err != nil {
		return
	}
	p, err := s.projectNamed(ctx, g.Project)
	return c, r.ID, u.ID, p.ID, err
}

// RoleAdd grants.
type RoleAdd struct{ grant }

// Run grants a role.
func (v *RoleAdd) Run(ctx context.Context, s *Session) error {
	c, role, user, project, err := v.find(ctx, s)
	if err != nil {
		return err
	}
	return roles.Assign(ctx, c, role, roles.AssignOpts{UserID: user, ProjectID: project}).ExtractErr()
}

// RoleRemove revokes.
type RoleRemove struct{ grant }

// Run takes a role away.
func (v *RoleRemove) Run(ctx context.Context, s *Session) error {
	c, role, user, project, err := v.find(ctx, s)
	if err != nil {
		return err
	}
	return roles.Unassign(ctx, c, role, roles.UnassignOpts{UserID: user, ProjectID: project}).ExtractErr()
}

// AppCred is the noun application credential: the caller's own.
type AppCred struct {
	Flags
	List   AppCredList   `cmd:"" help:"List your application credentials."`
	Create AppCredCreate `cmd:"" help:"Make one for the project you are in. Its secret is shown once."`
	Delete AppCredDelete `cmd:"" help:"Delete application credentials."`
}

// AppCredList lists.
type AppCredList struct{}

// Run lists the caller's application credentials.
func (AppCredList) Run(ctx context.Context, s *Session) error {
	_, _, all, err := s.appCreds(ctx)
	if err != nil {
		return err
	}
	l := listing{head: []string{"id", "name", "project", "roles", "expires", "description"}, empty: "no application credentials"}
	for _, a := range all {
		l.add(a.ID, a.Name, a.ProjectID, roleNames(a.Roles), a.ExpiresAt, a.Description)
	}
	return s.printList(l)
}

func roleNames(rs []applicationcredentials.Role) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Name)
	}
	return out
}

func (s *Session) appCreds(ctx context.Context) (*gophercloud.ServiceClient, string, []applicationcredentials.ApplicationCredential, error) {
	c, err := s.identity(ctx)
	if err != nil {
		return nil, "", nil, err
	}
	me, err := s.Caller(ctx)
	if err != nil {
		return nil, "", nil, err
	}
	pages, err := applicationcredentials.List(c, me.UserID, applicationcredentials.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, "", nil, err
	}
	all, err := applicationcredentials.ExtractApplicationCredentials(pages)
	return c, me.UserID, all, err
}

// AppCredCreate makes.
type AppCredCreate struct {
	Name         string        `arg:""`
	Description  string        `placeholder:"TEXT"`
	Role         []string      `placeholder:"R" help:"A role of yours that it gets; may be given again (all of them)."`
	Expires      time.Duration `placeholder:"720h" help:"How long it works (for ever)."`
	Unrestricted bool          `help:"It may make and delete application credentials and trusts itself."`
}

// Run makes an application credential and prints it as an entry of clouds.yaml needs it.
func (v *AppCredCreate) Run(ctx context.Context, s *Session) error {
	c, err := s.identity(ctx)
	if err != nil {
		return err
	}
	me, err := s.Caller(ctx)
	if err != nil {
		return err
	}
	opts := applicationcredentials.CreateOpts{Name: v.Name, Description: v.Description, Unrestricted: v.Unrestricted}
	for _, r := range v.Role {
		opts.Roles = append(opts.Roles, applicationcredentials.Role{Name: r})
	}
	if v.Expires > 0 {
		at := s.Now().Add(v.Expires).UTC()
		opts.ExpiresAt = &at
	}
	a, err := applicationcredentials.Create(ctx, c, me.UserID, opts).Extract()
	if err != nil {
		return err
	}
	if !s.JSON {
		fmt.Fprintln(s.Err, "The secret is shown this once: OS_AUTH_TYPE=v3applicationcredential, OS_APPLICATION_CREDENTIAL_ID and OS_APPLICATION_CREDENTIAL_SECRET use it.")
	}
	return s.printFields([]field{{"id", a.ID}, {"name", a.Name}, {"secret", a.Secret}, {"project", a.ProjectID}, {"roles", roleNames(a.Roles)}, {"expires", a.ExpiresAt},
		{"unrestricted", a.Unrestricted}})
}

// AppCredDelete deletes.
type AppCredDelete struct {
	Credentials []string `arg:"" name:"credential" help:"Names or ids."`
}

// Run deletes application credentials.
func (v *AppCredDelete) Run(ctx context.Context, s *Session) error {
	c, user, all, err := s.appCreds(ctx)
	if err != nil {
		return err
	}
	return forEach(v.Credentials, func(want string) error {
		a, err := pick("application credential", want, all, func(a applicationcredentials.ApplicationCredential) (string, string) { return a.ID, a.Name })
		if err != nil {
			return err
		}
		return applicationcredentials.Delete(ctx, c, user, a.ID).ExtractErr()
	})
}
