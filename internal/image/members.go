package image

import (
	"context"
	"slices"
	"unicode/utf8"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// Members lists the projects a shared image is shown to: all for the owner and an admin, its own membership for a member. 403 unless the
// image is shared.
func (s *Service) Members(ctx context.Context, creds *policy.Credentials, id string) ([]Member, error) {
	img, err := s.Get(ctx, creds, id)
	if err != nil {
		return nil, err
	}
	if err := img.mustBeShared(); err != nil {
		return nil, err
	}
	if img.ownedBy(creds) {
		return img.Members, nil
	}
	return slices.DeleteFunc(slices.Clone(img.Members), func(m Member) bool { return m.Project != creds.ProjectID }), nil
}

func (i *Image) mustBeShared() error {
	if i.Visibility != Shared {
		return fault.Forbidden("Only shared images have members.")
	}
	return nil
}

func noMember(id, project string) error {
	return fault.NotFound("Member %s of image %s not found", project, id)
}

// MemberOf is one membership, for the owner, an admin, or the member itself; 404 otherwise.
func (s *Service) MemberOf(ctx context.Context, creds *policy.Credentials, id, project string) (Member, error) {
	all, err := s.Members(ctx, creds, id)
	if err != nil {
		return Member{}, err
	}
	for _, m := range all {
		if m.Project == project {
			return m, nil
		}
	}
	return Member{}, noMember(id, project)
}

// AddMember shows a shared image to a project, pending its answer. Owner or admin only; 409 if it is a member already.
func (s *Service) AddMember(ctx context.Context, creds *policy.Credentials, id, project string) (Member, error) {
	if n := utf8.RuneCountInString(project); n == 0 || n > MaxName {
		return Member{}, fault.Invalid("member", "Invalid value for attribute member: it has 1 to %d characters", MaxName)
	}
	if err := storable("member", project); err != nil {
		return Member{}, err
	}
	now := db.Now()
	m := memberRow{id, project, Pending, now, now}
	err := s.write(ctx, id, func(tx *db.Tx) error {
		img, err := owned(ctx, tx, creds, id)
		if err != nil {
			return err
		}
		if err := img.mustBeShared(); err != nil {
			return err
		}
		if len(img.Members) >= MaxMembers {
			return fault.Quota("The limit has been exceeded on the number of allowed image members for this image. Attempted: %d, Maximum: %d", len(img.Members)+1, MaxMembers)
		}
		return tx.Insert(ctx, "image_members", m)
	})
	if db.IsUnique(err) {
		return Member{}, fault.Conflict("Member %s is duplicated for image %s", project, id)
	}
	return Member{id, project, Pending, now.Time, now.Time}, err
}

// RemoveMember takes a membership back. Owner or admin only.
func (s *Service) RemoveMember(ctx context.Context, creds *policy.Credentials, id, project string) error {
	return s.write(ctx, id, func(tx *db.Tx) error {
		img, err := owned(ctx, tx, creds, id)
		if err != nil {
			return err
		}
		if err := img.mustBeShared(); err != nil {
			return err
		}
		if _, ok := img.Member(project); !ok {
			return noMember(id, project)
		}
		_, err = tx.Exec(ctx, `DELETE FROM image_members WHERE image_id = ? AND member = ?`, id, project)
		return err
	})
}

// AnswerMember sets a member's answer. Only the member project itself or an admin may; the owner gets 403.
func (s *Service) AnswerMember(ctx context.Context, creds *policy.Credentials, id, project string, answer MemberStatus) (Member, error) {
	if answer != Pending && answer != Accepted && answer != Rejected {
		return Member{}, fault.Invalid("status", "Invalid value '%s' for attribute status: it must be pending, accepted or rejected", answer)
	}
	var out Member
	err := s.write(ctx, id, func(tx *db.Tx) error {
		img, err := load(ctx, tx, id)
		if err != nil {
			return err
		}
		if !img.VisibleTo(creds) {
			return notFound(id)
		}
		if err := img.mustBeShared(); err != nil {
			return err
		}
		m, ok := img.Member(project)
		if !ok {
			return noMember(id, project)
		}
		if creds != nil && !creds.IsAdmin() && creds.ProjectID != project {
			if img.ownedBy(creds) {
				return fault.Forbidden("You are not permitted to modify this image member: only project %s may answer.", project)
			}
			return noMember(id, project)
		}
		now := db.Now()
		m.Status, m.UpdatedAt = answer, now.Time
		out = m
		_, err = tx.Exec(ctx, `UPDATE image_members SET status = ?, updated_at = ? WHERE image_id = ? AND member = ?`, string(answer), now, id, project)
		return err
	})
	return out, err
}
