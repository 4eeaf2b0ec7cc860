package compute

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// consoleTTL is how long a console's address is good for (Nova's [consoleauth] token_ttl).
const consoleTTL = 10 * time.Minute

// ConsoleType is a kind of remote console, in Nova's words.
type ConsoleType string

// The kinds. Guests have a display that VNC can show and a serial line; there is neither SPICE nor RDP nor MKS here.
const (
	ConsoleNoVNC  ConsoleType = "novnc"
	ConsoleSerial ConsoleType = "serial"
)

// Console is one permission to look at a server's console.
type Console struct {
	Token    string      `db:"-"` // known only to who asked: the row has its hash
	Hash     string      `db:"token_hash"`
	ServerID string      `db:"server_id"`
	Type     ConsoleType `db:"console_type"`
	Host     string      `db:"host"` // where the guest was; the console is a socket in its directory there, on no port
	Expires  db.Time     `db:"expires_at"`
}

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// OpenConsole gives a token for a console of a running server. 400 for a kind that guests here do not have, 409 while there is nothing to see.
func (s *Service) OpenConsole(ctx context.Context, by By, id string, kind ConsoleType) (*Console, error) {
	c := &Console{Token: uuid.NewString(), ServerID: id, Type: kind, Expires: db.At(s.Clock.Now().Add(consoleTTL))}
	c.Hash = hashToken(c.Token)
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		sv, err := visible(ctx, tx, by.Creds, id)
		if err != nil {
			return err
		}
		switch {
		case kind != ConsoleNoVNC && kind != ConsoleSerial:
			return fault.Invalid("type", "Unavailable console type %s.", kind)
		case sv.Host == "":
			return fault.Conflict("Instance %s is not ready", id)
		case sv.Power() != hostapi.PowerRunning && sv.Power() != hostapi.PowerPaused:
			return fault.Conflict("Instance %s is not running: it has no console", id)
		}
		c.Host = sv.Host
		return tx.Insert(ctx, "console_tokens", c)
	})
	return c, err
}

// ConsoleOf finds what a token is for; fault.KindNotFound when it is unknown, its time is over, or the server is gone or on another host.
func (s *Service) ConsoleOf(ctx context.Context, token string) (*Console, error) {
	var c Console
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		return tx.Get(ctx, &c, `SELECT * FROM console_tokens WHERE token_hash = ? AND expires_at > ?
			AND EXISTS (SELECT 1 FROM servers WHERE servers.id = console_tokens.server_id AND servers.host = console_tokens.host AND deleted = FALSE)`, hashToken(token), db.At(s.Clock.Now()))
	})
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.NotFound("Token not found")
	}
	return &c, err
}

func (s *Service) dropExpiredConsoles(ctx context.Context) error {
	var n int
	if err := s.DB.Read(ctx, func(tx *db.Tx) error {
		return tx.Get(ctx, &n, `SELECT COUNT(*) FROM console_tokens WHERE expires_at <= ?`, db.At(s.Clock.Now()))
	}); err != nil || n == 0 {
		return err
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM console_tokens WHERE expires_at <= ?`, db.At(s.Clock.Now()))
		return err
	})
}
