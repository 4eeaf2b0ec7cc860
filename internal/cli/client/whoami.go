package client

import (
	"context"
)

// Caller is what the session's token says of its bearer.
type Caller struct {
	UserID, UserName, UserDomainID          string
	ProjectID, ProjectName, ProjectDomainID string
	DomainID                                string
	System                                  bool
	Roles                                   []string
}

// Caller asks the cloud for a token and reads it.
func (s *Session) Caller(ctx context.Context) (Caller, error) {
	if err := s.connect(ctx); err != nil {
		return Caller{}, err
	}
	r, ok := s.provider.GetAuthResult().(interface{ ExtractInto(v any) error })
	if !ok {
		return Caller{}, usagef("the token of %s is not one of Keystone v3", s.source)
	}
	type ref struct {
		ID     string `json:"id"`
		Name   string `json:"name"`
		Domain struct {
			ID string `json:"id"`
		} `json:"domain"`
	}
	var k struct { // what stands under "token"
		User    ref             `json:"user"`
		Project ref             `json:"project"`
		Domain  ref             `json:"domain"`
		System  map[string]bool `json:"system"`
		Roles   []ref           `json:"roles"`
	}
	if err := r.ExtractInto(&k); err != nil {
		return Caller{}, err
	}
	c := Caller{UserID: k.User.ID, UserName: k.User.Name, UserDomainID: k.User.Domain.ID, ProjectID: k.Project.ID, ProjectName: k.Project.Name, ProjectDomainID: k.Project.Domain.ID,
		DomainID: k.Domain.ID, System: k.System["all"]}
	for _, role := range k.Roles {
		c.Roles = append(c.Roles, role.Name)
	}
	return c, nil
}
