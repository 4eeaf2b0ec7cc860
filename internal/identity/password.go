package identity

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/crypto/bcrypt"

	"nephos/internal/fault"
)

// MaxPassword is Keystone's max_password_length, in bytes.
const MaxPassword = 4096

// bcryptBytes is what bcrypt looks at; Keystone cuts longer passwords too.
const bcryptBytes = 72

// hasher makes and checks bcrypt hashes, a bounded number at a time: each takes tens of milliseconds of a core, and log-ins must not
// starve everything else.
type hasher struct {
	cost  int
	slots chan struct{}
	dummy []byte // compared against when there is no user, so that the answer takes as long
}

func newHasher(cost, parallel int) (*hasher, error) {
	if cost < bcrypt.MinCost || cost > bcrypt.MaxCost {
		return nil, fmt.Errorf("bcrypt cost %d is not between %d and %d", cost, bcrypt.MinCost, bcrypt.MaxCost)
	}
	// The hash of no password: bcrypt's text form with a fixed salt and sum, at the wanted cost. Making a real one would cost every start its time.
	dummy := fmt.Sprintf("$2a$%02d$%s", cost, "N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy")
	return &hasher{cost: cost, slots: make(chan struct{}, max(parallel, 1)), dummy: []byte(dummy)}, nil
}

func (h *hasher) slot(ctx context.Context) (release func(), err error) {
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hash makes the text to store. An empty password gives an empty text: that user cannot log in with one.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	if password == "" {
		return "", nil
	}
	if len(password) > MaxPassword {
		return "", fault.Invalid("password", "Password must be less than or equal to %d characters.", MaxPassword)
	}
	release, err := h.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	b, err := bcrypt.GenerateFromPassword(clip(password), h.cost)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return string(b), nil
}

// matches compares in the time of one bcrypt run, also when stored is empty.
func (h *hasher) matches(ctx context.Context, stored, password string) (bool, error) {
	release, err := h.slot(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	against := []byte(stored)
	if stored == "" {
		against = h.dummy
	}
	err = bcrypt.CompareHashAndPassword(against, clip(password))
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, fmt.Errorf("stored password: %w", err)
	}
	return err == nil && stored != "", nil
}

// outdated says whether a stored hash was made at another cost than today's.
func (h *hasher) outdated(stored string) bool {
	if stored == "" {
		return false
	}
	cost, err := bcrypt.Cost([]byte(stored))
	return err == nil && cost != h.cost
}

func clip(password string) []byte {
	b := []byte(password)
	return b[:min(len(b), bcryptBytes)]
}
