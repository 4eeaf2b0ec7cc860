package compute

import (
	"context"
	"crypto/subtle"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

func equalSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// Shelve stops a server, keeps its root disk as an image and leaves its host. A server whose root is a volume needs no image.
func (s *Service) Shelve(ctx context.Context, by By, id string) error {
	_, err := s.begin(ctx, by, id, ActionShelve, func(tx *db.Tx, sv *Server, a *Act) error {
		a.Offload = s.ShelvedOffload >= 0
		if sv.VolumeBooted() {
			a.Offload = true
			return nil
		}
		_, err := s.imageOf(ctx, tx, by, sv, sv.Name+"-shelved", "snapshot", nil, a)
		return err
	})
	return err
}

// ShelveOffload has a shelved server leave its host.
func (s *Service) ShelveOffload(ctx context.Context, by By, id string) error {
	_, err := s.begin(ctx, by, id, ActionShelveOffload, nil)
	return err
}

// UnshelveRequest is the body of unshelve. Zone is set when the key was given: nil in it unpins the server.
type UnshelveRequest struct {
	Zone **string
	Host string
}

// Unshelve brings a shelved server back, to the asked zone or host if it has left its own.
func (s *Service) Unshelve(ctx context.Context, by By, id string, req UnshelveRequest) error {
	sv, err := s.fitNow(ctx, by, id, ActionUnshelve)
	if err != nil {
		return err
	}
	if (req.Zone != nil || req.Host != "") && sv.VMState != ShelvedOffloaded {
		return fault.Conflict("Specifying an availability zone or a host when unshelving server %s with status %s is not supported for a server whose status is not SHELVED_OFFLOADED.", id, sv.Status())
	}
	if req.Zone != nil && *req.Zone != nil && !slices.Contains(s.Hosts.Zones(), **req.Zone) {
		return fault.Invalid("availability_zone", "The requested availability zone is not available")
	}
	zone := sv.PinnedZone
	if req.Zone != nil {
		if zone = ""; *req.Zone != nil {
			zone = **req.Zone
		}
	}
	if req.Host != "" {
		if !slices.ContainsFunc(s.Hosts.Rows(), func(r HostRow) bool { return r.Name == req.Host }) {
			return fault.Invalid("host", "Compute host %s could not be found.", req.Host)
		}
		if zone != "" && s.Hosts.Zone(req.Host) != zone {
			return fault.Conflict("The requested host %s is not in availability zone %s.", req.Host, zone)
		}
	}
	_, err = s.begin(ctx, by, id, ActionUnshelve, func(tx *db.Tx, sv *Server, a *Act) error {
		a.Host = req.Host
		if zone == sv.PinnedZone {
			return nil
		}
		return move(ctx, tx, sv.ID, sv.Epoch, `pinned_zone = ?`, zone)
	})
	return err
}
