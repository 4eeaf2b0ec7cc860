package compute

import (
	"context"

	"nephos/internal/network"
	"nephos/internal/policy"
	"nephos/internal/scheduler"
)

// DryRun is what would become of a create: the decision that would be made now, and what decides about each host.
type DryRun struct {
	Choice   scheduler.Choice
	Verdicts []scheduler.Verdict
}

// ExplainSchedule goes through the checks of a create and asks the scheduler, and writes nothing. Networks play no part.
func (s *Service) ExplainSchedule(ctx context.Context, creds *policy.Credentials, req CreateRequest) (*DryRun, error) {
	req.Name, req.Networks, req.NetworkMode, req.Min, req.Max = "explain", nil, network.ModeNone, 1, 1
	d, err := s.check(ctx, creds, req)
	if err != nil {
		return nil, err
	}
	return &DryRun{Choice: s.Hosts.Schedule(d.request, 1)[0], Verdicts: scheduler.Examine(s.Hosts.Snapshot(), d.request, &s.Hosts.Scheduler)}, nil
}
