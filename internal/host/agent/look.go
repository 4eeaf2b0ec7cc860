package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// passwordFile is where the metadata service keeps what a guest has posted (metadata.PasswordFiles).
const passwordFile = "password"

// onLook answers questions about one guest.
func (a *Agent) onLook(ctx context.Context, data []byte) (any, error) {
	var r hostapi.LookRequest
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	out, err := a.look(ctx, r)
	if err == nil {
		return out, nil
	}
	reply := hostapi.LookReply{Err: fault.Message(err), Kind: hostapi.ErrHost}
	switch fault.KindOf(err) {
	case fault.KindNotFound:
		reply.Kind = hostapi.ErrAbsent
	case fault.KindConflict:
		reply.Kind = hostapi.ErrState
	}
	return reply, nil
}

func (a *Agent) look(ctx context.Context, r hostapi.LookRequest) (out hostapi.LookReply, err error) {
	spec, err := a.Spec(r.ServerID) // also keeps a name that is no server's out of the paths below
	if err != nil {
		return out, err
	}
	if r.Diagnostics {
		d, err := a.cfg.Driver.Diagnose(ctx, r.ServerID)
		if err != nil {
			return out, err
		}
		for _, n := range spec.NICs {
			c, err := a.cfg.Plane.Counters(ctx, n.PortID)
			if err != nil && !fault.IsNotFound(err) {
				return out, err
			}
			c.PortID, c.MAC = n.PortID, n.Port.MAC
			d.Interfaces = append(d.Interfaces, c)
		}
		out.Diagnostics = &d
	}
	file := filepath.Join(a.InstanceDir(spec.ServerID), passwordFile)
	if r.Password && a.cfg.Simulated == nil {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, err
		}
		out.Password = string(b)
	}
	if r.ForgetPassword && a.cfg.Simulated == nil {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, err
		}
	}
	return out, nil
}
