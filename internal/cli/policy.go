package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"nephos/internal/app"
	"nephos/internal/cli/client"
	"nephos/internal/config"
	"nephos/internal/policy"
)

type policyCmd struct {
	List    policyListCmd    `cmd:"" help:"List the rules that are in force, and which the policy file changes."`
	Explain policyExplainCmd `cmd:"" help:"Say why a call would be allowed or refused."`
}

// policyFlags find the rules: those of the cloud whose settings are given.
type policyFlags struct {
	Config     string `placeholder:"FILE" type:"path" help:"Configuration file of the cloud."`
	PolicyFile string `placeholder:"FILE" type:"path" help:"A policy.yaml, to try it out (else that of the configuration, or STATE_DIR/policy.yaml)."`
	Service    string `placeholder:"NAME" help:"identity, image, compute, network, volume or placement."`
}

func (f *policyFlags) book(s *client.Session) (*app.PolicyBook, error) {
	cfg, err := config.Load(f.Config)
	if err != nil {
		return nil, usageError{err}
	}
	switch {
	case s.StateDir != "":
		cfg.StateDir = s.StateDir
	case cfg.StateDir == config.Default().StateDir:
		cfg.StateDir = client.DefaultStateDir(s.Getenv)
	}
	if f.PolicyFile != "" {
		cfg.PolicyFile = f.PolicyFile
	}
	book, err := app.Policies(&cfg)
	if err != nil {
		return nil, usageError{err}
	}
	return book, nil
}

type policyListCmd struct {
	policyFlags
	client.Flags
	Changed bool `help:"Only what the policy file changes."`
}

func (l *policyListCmd) Run(s *client.Session) error {
	book, err := l.book(s)
	if err != nil {
		return err
	}
	rules := book.Rules(l.Service)
	if l.Service != "" && len(rules) == 0 {
		return usageError{fmt.Errorf("there is no service %s: identity, image, compute, network, volume or placement", l.Service)}
	}
	shown := rules[:0]
	for _, r := range rules {
		if !l.Changed || r.Line > 0 {
			shown = append(shown, r)
		}
	}
	if s.JSON {
		return writeJSON(s.Out, shown)
	}
	service := ""
	for _, r := range shown {
		if r.Service != service {
			service = r.Service
			fmt.Fprintf(s.Out, "# %s\n", service)
		}
		if r.Line > 0 {
			fmt.Fprintf(s.Out, "# line %d of %s; the default is %q\n", r.Line, book.File.Name, r.Default)
		}
		fmt.Fprintf(s.Out, "%q: %q\n", r.Name, r.Check)
	}
	return nil
}

type policyExplainCmd struct {
	policyFlags
	client.Flags
	What      []string          `arg:"" help:"A rule's name, or a call: METHOD PATH [ACTION]."`
	Role      []string          `placeholder:"NAME" help:"A role of the caller; may be given again. Without any the caller is who you are in the cloud."`
	UserID    string            `name:"user-id" placeholder:"ID" help:"The caller, with --role."`
	ProjectID string            `name:"project-id" placeholder:"ID" help:"Project of the caller's token, with --role."`
	DomainID  string            `name:"domain-id" placeholder:"ID" help:"Domain of the caller's token, with --role."`
	System    bool              `help:"The caller's token is for the system, with --role."`
	Target    map[string]string `placeholder:"K=V" help:"Attribute of what is acted upon (project_id and user_id: the caller's own)."`
}

// Help is shown by "nephos help policy explain".
func (*policyExplainCmd) Help() string {
	return "Shows the rule, what it is made of, and what each part found in the caller's credentials and in the target. Roles given with --role are all that the caller has; admin, " +
		"manager, member and reader bring those after them with them. Exit code 1: it is refused.\n\n" +
		"  nephos policy explain os_compute_api:servers:create\n  nephos policy explain POST /v2.1/servers --role reader --project-id p1\n" +
		"  nephos policy explain POST /v2.1/servers/ID/action reboot --role member --project-id p1 --target project_id=p2"
}

func (x *policyExplainCmd) Run(ctx context.Context, s *client.Session) error {
	book, err := x.book(s)
	if err != nil {
		return err
	}
	creds, err := x.caller(ctx, s)
	if err != nil {
		return err
	}
	target := policy.Target{"project_id": creds.ProjectID, "user_id": creds.UserID}
	for k, v := range x.Target {
		target[k] = v
	}
	e, err := book.Explain(x.Service, strings.Join(x.What, " "), creds, target)
	if err != nil {
		return usageError{err}
	}
	if s.JSON {
		err = writeJSON(s.Out, e)
	} else {
		head := e.Service
		if e.Call != "" {
			head += "  " + e.Call
		}
		fmt.Fprintf(s.Out, "%s  for %s\n", head, describe(creds))
		err = printStep(s.Out, e.Step, 0)
	}
	if err == nil && !e.Allowed {
		err = client.ExitError{Code: exitFailed}
	}
	return err
}

// caller is who asks: as given, or the bearer of the session's token.
func (x *policyExplainCmd) caller(ctx context.Context, s *client.Session) (*policy.Credentials, error) {
	if len(x.Role) > 0 {
		return &policy.Credentials{UserID: x.UserID, ProjectID: x.ProjectID, DomainID: x.DomainID, System: x.System, Roles: implied(x.Role)}, nil
	}
	if x.UserID+x.ProjectID+x.DomainID != "" || x.System {
		return nil, usageError{fmt.Errorf("--user-id, --project-id, --domain-id and --system describe a caller by hand: give the --role too")}
	}
	c, err := s.Caller(ctx)
	if err != nil {
		return nil, err
	}
	return &policy.Credentials{UserID: c.UserID, UserName: c.UserName, UserDomainID: c.UserDomainID, ProjectID: c.ProjectID, ProjectName: c.ProjectName, ProjectDomainID: c.ProjectDomainID,
		DomainID: c.DomainID, System: c.System, Roles: c.Roles}, nil
}

// implied adds what the roles of every cloud imply.
func implied(roles []string) []string {
	chain := []string{"admin", "manager", "member", "reader"}
	var out []string
	add := func(r string) {
		for _, have := range out {
			if have == r {
				return
			}
		}
		out = append(out, r)
	}
	for _, r := range roles {
		add(r)
		for i, c := range chain {
			if strings.EqualFold(c, r) {
				for _, less := range chain[i+1:] {
					add(less)
				}
			}
		}
	}
	return out
}

func describe(c *policy.Credentials) string {
	who := []string{"roles " + strings.Join(c.Roles, ", ")}
	for _, p := range [][2]string{{"user", c.UserID}, {"project", c.ProjectID}, {"domain", c.DomainID}} {
		if p[1] != "" {
			who = append(who, p[0]+" "+p[1])
		}
	}
	if c.System {
		who = append(who, "system scope")
	}
	return strings.Join(who, "; ")
}

// printStep draws a step and its parts, indented.
func printStep(w io.Writer, s policy.Step, depth int) error {
	mark := "no "
	if s.Allowed {
		mark = "yes"
	}
	line := mark + "  " + strings.Repeat("  ", depth) + s.Text
	if s.Why != "" {
		line += "  — " + s.Why
	}
	if _, err := fmt.Fprintln(w, line); err != nil {
		return err
	}
	for _, p := range s.Parts {
		if err := printStep(w, p, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
