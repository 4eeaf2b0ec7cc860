package client

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
)

// Console prints a console log.
type Console struct {
	Server string `arg:"" help:"Name or id."`
	Lines  int    `short:"n" placeholder:"N" help:"Only the last lines."`
	Follow bool   `short:"f" help:"Go on printing what the guest writes, until Ctrl-C."`
}

// Run prints the console log.
func (k *Console) Run(ctx context.Context, s *Session) error {
	v, err := s.server(ctx, k.Server)
	if err != nil {
		return err
	}
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	read := func(lines int) (string, error) {
		return servers.ShowConsoleOutput(ctx, c, v.ID, servers.ShowConsoleOutputOpts{Length: lines}).Extract()
	}
	last, err := read(k.Lines)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(s.Out, last); err != nil || !k.Follow {
		return err
	}
	if k.Lines > 0 { // from here on whole logs are compared
		if last, err = read(0); err != nil {
			return err
		}
	}
	for {
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return nil //nolint:nilerr // Ctrl-C is how following ends
		}
		now, err := read(0)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(s.Out, newText(last, now)); err != nil {
			return err
		}
		last = now
	}
}

// newText is what a log holds beyond its earlier reading. Logs are rings: the beginning may be gone, so the end of the earlier reading is looked for; a log
// that shares nothing with it is new as a whole (the guest was started anew).
func newText(before, now string) string {
	if rest, ok := strings.CutPrefix(now, before); ok {
		return rest
	}
	for n := min(len(before), 4096); n >= 16; n /= 2 {
		tail := before[len(before)-n:]
		if i := strings.LastIndex(now, tail); i >= 0 {
			return now[i+len(tail):]
		}
	}
	return now
}

// SSH logs in to a server.
type SSH struct {
	Server   string   `arg:"" help:"Name or id."`
	User     string   `short:"l" default:"root" help:"User to log in as (${default})."`
	Identity string   `short:"i" placeholder:"FILE" help:"Private key."`
	Command  []string `arg:"" optional:"" passthrough:"" help:"Command to run, after --."`
}

// Run becomes ssh. The process has no deadline: a person sits in front of it.
func (k *SSH) Run(ctx context.Context, s *Session) error {
	v, err := s.server(ctx, k.Server)
	if err != nil {
		return err
	}
	args, err := k.args(v)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "ssh", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		if e := (*exec.ExitError)(nil); errors.As(err, &e) && e.ExitCode() > 0 {
			return ExitError{e.ExitCode()}
		}
		return err
	}
	return nil
}

// args are ssh's. Host keys are remembered under the server's id: addresses are used again by other servers, ids never.
func (k *SSH) args(v servers.Server) ([]string, error) {
	list := addresses(v)
	if len(list) == 0 {
		return nil, usagef("server %s has no address (it is %s)", v.Name, statusWords(v))
	}
	args := []string{"-o", "HostKeyAlias=" + v.ID, "-o", "StrictHostKeyChecking=accept-new", "-o", "ConnectTimeout=15"}
	if k.Identity != "" {
		args = append(args, "-i", k.Identity)
	}
	args = append(args, k.User+"@"+list[0].addr.String())
	cmd := k.Command
	if len(cmd) > 0 && cmd[0] == "--" {
		cmd = cmd[1:]
	}
	if len(cmd) > 0 {
		args = append(append(args, "--"), cmd...)
	}
	return args, nil
}
