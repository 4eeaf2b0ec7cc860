package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"nephos/internal/cli/client"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// grammar is everything that can be typed.
type grammar struct {
	Up         upCmd         `cmd:"" group:"cloud" help:"Run a whole cloud on this machine, in the foreground."`
	Controller controllerCmd `cmd:"" group:"cloud" help:"Run a cloud's services, for hosts that join."`
	Agent      agentCmd      `cmd:"" group:"cloud" help:"Run a compute host that joins a cloud."`
	Down       downCmd       `cmd:"" group:"cloud" help:"End the guests and networks that a stopped cloud left running here."`
	Identity   identityCmd   `cmd:"" group:"cloud" help:"rotate-keys: put new keys under the tokens, or the stored credentials, of a cloud."`
	Doctor     doctorCmd     `cmd:"" group:"cloud" help:"Say what this machine lacks and how to mend it."`

	Boot   client.Boot   `cmd:"" group:"servers" help:"Make a server."`
	Server client.Server `cmd:"" group:"servers" help:"list, show, delete, start, stop, reboot, pause, unpause, suspend, resume, console, ssh, trace."`
	Trace  client.Trace  `cmd:"" group:"servers" help:"Draw what was done to a server, step by step."`

	Image      client.Image      `cmd:"" group:"resources" help:"list, show, create, save, delete."`
	Flavor     client.Flavor     `cmd:"" group:"resources" help:"list, show, create, delete."`
	Keypair    client.Keypair    `cmd:"" group:"resources" help:"list, create, delete."`
	Network    client.Network    `cmd:"" group:"resources" help:"list, show, create, delete."`
	FloatingIP client.FloatingIP `cmd:"" name:"floatingip" group:"resources" help:"list, create, add, delete."`
	Secgroup   client.Secgroup   `cmd:"" group:"resources" help:"list, create, allow, delete."`
	Volume     client.Volume     `cmd:"" group:"resources" help:"list, show, create, delete, attach, detach."`
	Quota      client.Quota      `cmd:"" group:"resources" help:"show, set."`

	Project client.Project `cmd:"" group:"people" help:"list, show, create, delete."`
	User    client.User    `cmd:"" group:"people" help:"list, show, create, password, delete."`
	Role    client.Role    `cmd:"" group:"people" help:"list, create, delete, add, remove."`
	AppCred client.AppCred `cmd:"" name:"appcred" group:"people" help:"Application credentials: list, create, delete."`

	Scheduler client.Scheduler `cmd:"" group:"other" help:"explain: what would decide about a server on each host."`

	Policy  policyCmd   `cmd:"" group:"other" help:"list the rules, explain why a call is allowed or refused."`
	Fsck    client.Fsck `cmd:"" group:"other" help:"Prove that nothing in a nephos cloud is without an owner."`
	Version versionCmd  `cmd:"" group:"other" help:"Print the version."`
	Help    helpCmd     `cmd:"" group:"other" help:"Explain a verb."`
}

// groups are the headings of `nephos help`.
var groups = []kong.Group{
	{Key: "cloud", Title: "This machine"},
	{Key: "servers", Title: "Servers"},
	{Key: "resources", Title: "What servers are made of"},
	{Key: "people", Title: "Who may do what"},
	{Key: "other", Title: "Other"},
	{Key: "where", Title: "Which cloud, and how to answer:"},
}

const description = `An OpenStack-compatible cloud in one binary.

Start one here with "nephos up"; then "nephos boot vm1 --wait". Client verbs work against every OpenStack cloud: they read OS_* variables, OS_CLOUD and clouds.yaml, and
without any of these the credentials that "nephos up" left in its state directory.`

// usageError is a mistake in what was typed or configured: exit code 2.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// exited is thrown by kong's exit hook, after help was printed, and caught by run.
type exited int

// Main runs one command line and gives the exit code. stdout gets results, stderr progress and errors.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signals(stderr)
	defer stop()
	return run(ctx, args, client.NewEnv(stdout, stderr))
}

// run is Main without the process's signals.
func run(ctx context.Context, args []string, env *client.Env) (code int) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case exited:
			code = int(p)
		default:
			panic(p)
		}
	}()
	parser, err := newParser(ctx, env)
	if err != nil {
		fmt.Fprintln(env.Err, "nephos:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		err = usageError{err}
	} else {
		err = k.Run()
	}
	return report(env.Err, args, err)
}

func newParser(ctx context.Context, env *client.Env) (*kong.Kong, error) {
	return kong.New(&grammar{}, kong.Name("nephos"), kong.Description(description), kong.Writers(env.Out, env.Err),
		kong.Exit(func(code int) { panic(exited(code)) }), kong.ExplicitGroups(groups), kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 110}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(env, client.NewSession(env)), kong.Vars{"state_dir": client.DefaultStateDir(env.Getenv)})
}

// report prints err for a person and gives its exit code.
func report(stderr io.Writer, args []string, err error) int {
	if err == nil {
		return exitOK
	}
	var silent client.ExitError
	if errors.As(err, &silent) {
		return silent.Code
	}
	fmt.Fprintln(stderr, "nephos:", client.Explain(err))
	var parse *kong.ParseError
	if errors.As(err, &parse) {
		fmt.Fprintf(stderr, "See `nephos help%s`.\n", verbOf(parse, args))
	}
	var usage usageError
	if errors.As(err, &usage) || client.IsUsage(err) {
		return exitUsage
	}
	return exitFailed
}

// verbOf is the command that was understood before parsing went wrong, for the hint: " server list".
func verbOf(p *kong.ParseError, args []string) string {
	if p.Context == nil || len(args) == 0 {
		return ""
	}
	var b strings.Builder
	for _, part := range p.Context.Path {
		if part.Command != nil {
			b.WriteString(" " + part.Command.Name)
		}
	}
	return b.String()
}

type helpCmd struct {
	Verb []string `arg:"" optional:"" help:"The verb, such as: server list."`
}

// Run prints a verb's help by way of its --help flag.
func (h *helpCmd) Run(ctx context.Context, env *client.Env) error {
	parser, err := newParser(ctx, env)
	if err != nil {
		return err
	}
	if _, err := parser.Parse(append(h.Verb, "--help")); err != nil {
		return usageError{err}
	}
	return nil
}

// signals gives a context that ends at the first SIGINT or SIGTERM. The second ends the process at once, as whoever sends two means it: state is crash-safe.
func signals(stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-ch:
			cancel()
		case <-done:
			return
		}
		select {
		case s := <-ch:
			fmt.Fprintln(stderr, "nephos: stopped at once by the second signal")
			os.Exit(128 + int(s.(syscall.Signal)))
		case <-done:
		}
	}()
	return ctx, func() { signal.Stop(ch); close(done); cancel() }
}
