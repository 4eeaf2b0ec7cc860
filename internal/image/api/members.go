package api

import (
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image"
)

func (s *server) members(r *httpapi.Request) (any, error) {
	list, err := s.svc.Members(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	out := make([]map[string]any, 0, len(list))
	for _, m := range list {
		out = append(out, memberView(m))
	}
	return map[string]any{"members": out, "schema": "/v2/schemas/members"}, nil
}

func (s *server) member(r *httpapi.Request) (any, error) {
	m, err := s.svc.MemberOf(r.Context(), r.Creds, r.Param("id"), r.Param("member"))
	if err != nil {
		return nil, err
	}
	return memberView(m), nil
}

// word reads the one text that a member body has.
func word(r *httpapi.Request, key string) (string, error) {
	doc, _ := r.Document().(map[string]any)
	v, ok := doc[key].(string)
	if !ok || v == "" {
		return "", fault.Invalid(key, "Expected a JSON object with a text member \"%s\".", key)
	}
	return v, nil
}

func (s *server) addMember(r *httpapi.Request) (any, error) {
	img, err := s.visible(r, "add_member")
	if err != nil {
		return nil, err
	}
	project, err := word(r, "member")
	if err != nil {
		return nil, err
	}
	m, err := s.svc.AddMember(r.Context(), r.Creds, img.ID, project)
	if err != nil {
		return nil, err
	}
	return memberView(m), nil
}

// answerMember lets the room look first: to a stranger the membership does not exist (404), to the owner it is not his to answer (403).
func (s *server) answerMember(r *httpapi.Request) (any, error) {
	answer, err := word(r, "status")
	if err != nil {
		return nil, err
	}
	img, err := s.visible(r, "")
	if err != nil {
		return nil, err
	}
	member := r.Param("member")
	if _, err := s.svc.MemberOf(r.Context(), r.Creds, img.ID, member); err != nil {
		return nil, err
	}
	t := target(img)
	t["member_id"] = member
	if err := r.Authorize("modify_member", t); err != nil {
		return nil, err
	}
	m, err := s.svc.AnswerMember(r.Context(), r.Creds, img.ID, member, image.MemberStatus(answer))
	if err != nil {
		return nil, err
	}
	return memberView(m), nil
}

func (s *server) removeMember(r *httpapi.Request) (any, error) {
	img, err := s.visible(r, "delete_member")
	if err != nil {
		return nil, err
	}
	return nil, s.svc.RemoveMember(r.Context(), r.Creds, img.ID, r.Param("member"))
}
