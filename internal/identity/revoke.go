package identity

import (
	"context"
	"time"

	"nephos/internal/db"
)

// RevokeEvent tells services that check tokens by themselves which ones have ended: all that fit every field that is set, and were issued
// before IssuedBefore (OS-REVOKE). Inside of nephos nothing reads these.
type RevokeEvent struct {
	ID            string  `db:"id"`
	UserID        string  `db:"user_id"`
	ProjectID     string  `db:"project_id"`
	DomainID      string  `db:"domain_id"`
	RoleID        string  `db:"role_id"`
	TrustID       string  `db:"trust_id"`
	AccessTokenID string  `db:"access_token_id"`
	ConsumerID    string  `db:"consumer_id"`
	AuditID       string  `db:"audit_id"`
	IssuedBefore  db.Time `db:"issued_before"`
	RevokedAt     db.Time `db:"revoked_at"`
}

// eventBuffer is how much longer than a token an event is kept: Keystone's [revoke] expiration_buffer.
const eventBuffer = 1800 * time.Second

// revokeEvent notes one in the transaction that ends the tokens, and drops those that no token alive can fit.
func (s *Service) revokeEvent(ctx context.Context, tx *db.Tx, e RevokeEvent) error {
	now := db.At(s.clock.Now())
	e.ID, e.IssuedBefore, e.RevokedAt = newID(), now, now
	if _, err := tx.Exec(ctx, `DELETE FROM identity_revoke_events WHERE revoked_at < ?`, db.At(now.Add(-s.ttl-eventBuffer))); err != nil {
		return err
	}
	return tx.Insert(ctx, "identity_revoke_events", e)
}

// RevokeEvents lists them, oldest first, from a time on.
func (s *Service) RevokeEvents(ctx context.Context, since time.Time) ([]RevokeEvent, error) {
	var out []RevokeEvent
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT * FROM identity_revoke_events WHERE revoked_at >= ? ORDER BY revoked_at, id`, db.At(since))
	})
	return out, err
}
