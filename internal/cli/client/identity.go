package client

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"golang.org/x/term"
)

func (s *Session) identity(ctx context.Context) (*gophercloud.ServiceClient, error) {
	return s.service(ctx, "identity", openstack.NewIdentityV3)
}

// Project is the noun project.
type Project struct {
	Flags
	List   ProjectList   `cmd:"" help:"List projects."`
	Show   ProjectShow   `cmd:"" help:"Show a project."`
	Create ProjectCreate `cmd:"" help:"Make a project."`
	Delete ProjectDelete `cmd:"" help:"Delete projects. What they own stays: delete it first."`
}

// ProjectList lists.
type ProjectList struct{}

// Run lists projects.
func (ProjectList) Run(ctx context.Context, s *Session) error {
	all, err := s.projects(ctx)
	if err != nil {
		return err
	}
	l := listing{head: []string{"id", "name", "domain", "enabled", "description"}, empty: "no projects"}
	for _, p := range all {
		l.add(p.ID, p.Name, p.DomainID, p.Enabled, p.Description)
	}
	return s.printList(l)
}

// projects are all, or where that is not allowed those that the caller can have a token for.
func (s *Session) projects(ctx context.Context) ([]projects.Project, error) {
	c, err := s.identity(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := projects.List(c, projects.ListOpts{}).AllPages(ctx)
	if gophercloud.ResponseCodeIs(err, 403) {
		pages, err = projects.ListAvailable(c).AllPages(ctx)
	}
	if err != nil {
		return nil, err
	}
	return projects.ExtractProjects(pages)
}

func (s *Session) projectNamed(ctx context.Context, want string) (projects.Project, error) {
	all, err := s.projects(ctx)
	if err != nil {
		return projects.Project{}, err
	}
	return pick("project", want, all, func(p projects.Project) (string, string) { return p.ID, p.Name })
}

func projectFields(p projects.Project) []field {
	return []field{{"id", p.ID}, {"name", p.Name}, {"domain", p.DomainID}, {"parent", p.ParentID}, {"enabled", p.Enabled}, {"description", p.Description}, {"tags", p.Tags}}
}

// ProjectShow shows.
type ProjectShow struct {
	Project string `arg:"" help:"Name or id."`
}

// Run shows a project.
func (v *ProjectShow) Run(ctx context.Context, s *Session) error {
	p, err := s.projectNamed(ctx, v.Project)
	if err != nil {
		return err
	}
	return s.printFields(projectFields(p))
}

// ProjectCreate makes.
type ProjectCreate struct {
	Name        string `arg:""`
	Description string `placeholder:"TEXT"`
	Domain      string `default:"default" placeholder:"ID" help:"Domain (${default})."`
}

// Run makes a project.
func (v *ProjectCreate) Run(ctx context.Context, s *Session) error {
	c, err := s.identity(ctx)
	if err != nil {
		return err
	}
	p, err := projects.Create(ctx, c, projects.CreateOpts{Name: v.Name, Description: v.Description, DomainID: v.Domain}).Extract()
	if err != nil {
		return err
	}
	return s.printFields(projectFields(*p))
}

// ProjectDelete deletes.
type ProjectDelete struct {
	Projects []string `arg:"" name:"project" help:"Names or ids."`
}

// Run deletes projects.
func (v *ProjectDelete) Run(ctx context.Context, s *Session) error {
	c, err := s.identity(ctx)
	if err != nil {
		return err
	}
	return forEach(v.Projects, func(want string) error {
		p, err := s.projectNamed(ctx, want)
		if err != nil {
			return err
		}
		return projects.Delete(ctx, c, p.ID).ExtractErr()
	})
}

// User is the noun user.
type User struct {
	Flags
	List     UserList     `cmd:"" help:"List users."`
	Show     UserShow     `cmd:"" help:"Show a user."`
	Create   UserCreate   `cmd:"" help:"Make a user, with a role in a project if these are given."`
	Password UserPassword `cmd:"" help:"Give a user another password (admin)."`
	Delete   UserDelete   `cmd:"" help:"Delete users."`
}

// UserList lists.
type UserList struct{}

// Run lists users.
func (UserList) Run(ctx context.Context, s *Session) error {
	all, err := s.users(ctx)
	if err != nil {
		return err
	}
	l := listing{head: []string{"id", "name", "domain", "enabled"}, empty: "no users"}
	for _, u := range all {
		l.add(u.ID, u.Name, u.DomainID, u.Enabled)
	}
	return s.printList(l)
}

func (s *Session) users(ctx context.Context) ([]users.User, error) {
	c, err := s.identity(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := users.List(c, users.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return users.ExtractUsers(pages)
}

func (s *Session) userNamed(ctx context.Context, want string) (users.User, error) {
	all, err := s.users(ctx)
	if err != nil {
		return users.User{}, err
	}
	return pick("user", want, all, func(u users.User) (string, string) { return u.ID, u.Name })
}

func userFields(u users.User) []field {
	f := []field{{"id", u.ID}, {"name", u.Name}, {"domain", u.DomainID}, {"enabled", u.Enabled}, {"default project", u.DefaultProjectID}, {"description", u.Description}}
	if !u.PasswordExpiresAt.IsZero() {
		f = append(f, field{"password expires", u.PasswordExpiresAt})
	}
	return f
}

// UserShow shows.
type UserShow struct {
	User string `arg:"" help:"Name or id."`
}

// Run shows a user.
func (v *UserShow) Run(ctx context.Context, s *Session) error {
	u, err := s.userNamed(ctx, v.User)
	if err != nil {
		return err
	}
	return s.printFields(userFields(u))
}

// UserCreate makes.
type UserCreate struct {
	Name    string `arg:""`
	Project string `placeholder:"P" help:"Name or id of the user's default project."`
	Role    string `placeholder:"R" help:"Role there: member, reader … (member, if there is a --project)."`
	Domain  string `default:"default" placeholder:"ID" help:"Domain (${default})."`
}

// Run makes a user. The password is read from standard input, so that it is in no list of processes and no shell's history. A user whose role cannot be given
// is taken away again.
func (v *UserCreate) Run(ctx context.Context, s *Session) error {
	if v.Role != "" && v.Project == "" {
		return usagef("--role is in a --project")
	}
	c, err := s.identity(ctx)
	if err != nil {
		return err
	}
	opts := users.CreateOpts{Name: v.Name, DomainID: v.Domain}
	var role roles.Role
	if v.Project != "" {
		p, err := s.projectNamed(ctx, v.Project)
		if err != nil {
			return err
		}
		opts.DefaultProjectID = p.ID
		if v.Role == "" {
			v.Role = "member"
		}
		if role, err = s.roleNamed(ctx, v.Role); err != nil {
			return err
		}
	}
	if opts.Password, err = s.readPassword(); err != nil {
		return err
	}
	u, err := users.Create(ctx, c, opts).Extract()
	if err != nil {
		return err
	}
	if opts.DefaultProjectID != "" {
		if err := roles.Assign(ctx, c, role.ID, roles.AssignOpts{UserID: u.ID, ProjectID: opts.DefaultProjectID}).ExtractErr(); err != nil {
			if derr := users.Delete(context.WithoutCancel(ctx), c, u.ID).ExtractErr(); derr != nil {
				fmt.Fprintf(s.Err, "nephos: user %s stays behind without a role: %s\n", u.ID, plain(derr))
			}
			return err
		}
	}
	return s.printFields(userFields(*u))
}

// readPassword takes the first line of standard input; at a terminal it asks and shows nothing of what is typed.
func (s *Session) readPassword() (string, error) {
	if f, ok := s.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(s.Err, "Password: ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(s.Err)
		if err == nil && len(b) == 0 {
			err = usagef("a password is needed")
		}
		return string(b), err
	}
	b, err := io.ReadAll(io.LimitReader(lineReader{s.In}, 4096))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", usagef("the password is read from standard input, and there is none")
	}
	return line, nil
}

// lineReader ends with the first line, so that a person need not end the input.
type lineReader struct{ io.Reader }

func (l lineReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k, err := l.Reader.Read(p[n : n+1])
		n += k
		if k > 0 && p[n-1] == '\n' {
			return n, io.EOF
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// UserPassword sets one.
type UserPassword struct {
	User string `arg:"" help:"Name or id."`
}

// Run gives a user another password, read from standard input.
func (v *UserPassword) Run(ctx context.Context, s *Session) error {
	c, err := s.identity(ctx)
	if err != nil {
		return err
	}
	u, err := s.userNamed(ctx, v.User)
	if err != nil {
		return err
	}
	pw, err := s.readPassword()
	if err != nil {
		return err
	}
	return users.Update(ctx, c, u.ID, users.UpdateOpts{Password: pw}).Err
}

// UserDelete deletes.
type UserDelete struct {
	Users []string `arg:"" name:"user" help:"Names or ids."`
}

// Run deletes users.
func (v *UserDelete) Run(ctx context.Context, s *Session) error {
	c, err := s.identity(ctx)
	if err != nil {
		return err
	}
	return forEach(v.Users, func(want string) error {
		u, err := s.userNamed(ctx, want)
		if err != nil {
			return err
		}
		return users.Delete(ctx, c, u.ID).ExtractErr()
	})
}
