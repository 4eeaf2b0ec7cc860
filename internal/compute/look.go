package compute

import (
	"context"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// look asks a server's host about its guest.
func (s *Service) look(ctx context.Context, by By, id string, r hostapi.LookRequest) (*Server, hostapi.LookReply, error) {
	sv, err := s.Get(ctx, by.Creds, id)
	if err != nil {
		return nil, hostapi.LookReply{}, err
	}
	if sv.Host == "" {
		return sv, hostapi.LookReply{}, fault.Conflict("Instance %s is not ready", id)
	}
	r.ServerID = sv.ID
	reply, err := s.Client.Look(ctx, sv.Host, r)
	if err == nil && reply.Err != "" {
		err = fault.Conflict("Host %s: %s", sv.Host, reply.Err)
	}
	return sv, reply, err
}

// Diagnostics are the numbers of a running guest. 409 in every state but active, paused, rescued and resized (Nova: what has a running domain).
func (s *Service) Diagnostics(ctx context.Context, by By, id string) (*Server, *hostapi.Diagnostics, error) {
	sv, err := s.Get(ctx, by.Creds, id)
	if err != nil {
		return nil, nil, err
	}
	rule := ActionRule{Name: "get_diagnostics", From: []VMState{Active, Paused, Rescued, Resized}}
	if !rule.Allows(sv.VMState, None) {
		return nil, nil, fit(sv, rule)
	}
	sv, reply, err := s.look(ctx, by, id, hostapi.LookRequest{Diagnostics: true})
	return sv, reply.Diagnostics, err
}

// GuestPassword is what the guest has posted as its password, encrypted with its owner's key; "" when it has posted none, or has no host to keep it.
func (s *Service) GuestPassword(ctx context.Context, by By, id string) (string, error) {
	sv, err := s.Get(ctx, by.Creds, id)
	if err != nil || sv.Host == "" {
		return "", err
	}
	_, reply, err := s.look(ctx, by, id, hostapi.LookRequest{Password: true})
	return reply.Password, err
}

// ForgetPassword clears what the guest has posted, so that it may post another. The guest's own password is not changed.
func (s *Service) ForgetPassword(ctx context.Context, by By, id string) error {
	sv, err := s.Get(ctx, by.Creds, id)
	if err != nil {
		return err
	}
	if err := unlocked(sv, by.Creds); err != nil || sv.Host == "" {
		return err
	}
	_, _, err = s.look(ctx, by, id, hostapi.LookRequest{ForgetPassword: true})
	return err
}
