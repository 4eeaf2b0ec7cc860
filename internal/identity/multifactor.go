package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 6238 as authenticator apps speak it
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// TOTPLogIn is what method totp sends.
type TOTPLogIn struct {
	User     UserRef
	Passcode string
}

// Passcodes of RFC 6238 as Keystone has them: six digits, steps of 30 s, of which the one before the present counts too.
const (
	totpStep   = 30 * time.Second
	totpBefore = 1
)

// verifyTOTP gives the user whose newest, or newest but one, passcode this is. A passcode works once.
func (s *Service) verifyTOTP(ctx context.Context, in TOTPLogIn, from string) (string, error) {
	key := throttleKey(in.User, from) + "\x00totp"
	if err := s.throttle.admit(key); err != nil {
		return "", err
	}
	u, err := s.findUser(ctx, in.User)
	if err != nil {
		return "", err
	}
	locked, err := s.locked(ctx, &u.User)
	if err != nil {
		return "", err
	}
	var creds []Credential
	if err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &creds, `SELECT * FROM identity_credentials WHERE user_id = ? AND type = 'totp'`, u.ID)
	}); err != nil {
		return "", err
	}
	now := s.clock.Now().Unix() / int64(totpStep/time.Second)
	for _, c := range creds {
		blob := s.vault.open(ctx, c.Blob)
		for step := now - totpBefore; step <= now && !locked; step++ {
			if step <= c.UsedStep || !hmac.Equal([]byte(passcode(string(blob), step)), []byte(in.Passcode)) {
				continue
			}
			if err := s.spend(ctx, c.ID, step); err != nil {
				return "", err
			}
			if !u.Enabled || !u.DomainEnabled || s.dormant(&u.User) {
				return "", unauthorized(errDisabled)
			}
			s.throttle.forget(key)
			return u.ID, nil
		}
	}
	if err := s.noteFailure(ctx, u.ID); err != nil {
		return "", err
	}
	return "", unauthorized(errors.New("no such user, no TOTP credential, or another passcode"))
}

// spend notes a passcode's step; of two log-ins with one passcode the second finds nothing to change.
func (s *Service) spend(ctx context.Context, credential string, step int64) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE identity_credentials SET used_step = ? WHERE id = ? AND used_step < ?`, step, credential, step)
		if err == nil && n == 0 {
			err = unauthorized(errors.New("the passcode has been used"))
		}
		return err
	})
}

// passcode is the one of a step; "" for a secret that is no base32, which equals no passcode of six digits.
func passcode(secret string, step int64) string {
	text := strings.ToUpper(strings.ReplaceAll(strings.TrimRight(secret, "="), " ", ""))
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	if err != nil || len(key) == 0 {
		return ""
	}
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	return fmt.Sprintf("%06d", (binary.BigEndian.Uint32(sum[at:])&0x7fffffff)%1000000)
}

// ReceiptTTL is how long a receipt of a partial log-in may be completed: Keystone's [receipt] expiration.
const ReceiptTTL = 5 * time.Minute

// MoreMethodsError is a log-in that fulfils the user's rules for several factors only in part. It is a 401.
type MoreMethodsError struct {
	Receipt             string // for the header Openstack-Auth-Receipt of the next attempt
	Methods             []string
	User                User
	DomainName          string
	IssuedAt, ExpiresAt time.Time
	Required            [][]string // the rules
	*fault.Fault
}

// Unwrap lets fault.KindOf see the 401.
func (e *MoreMethodsError) Unwrap() error { return e.Fault }

// enoughMethods holds the user's multi_factor_auth_rules against the methods that have been used, with those of a receipt.
func (s *Service) enoughMethods(ctx context.Context, p *payload, receipt string) error {
	if receipt != "" {
		have := s.openReceipt(ctx, receipt)
		if have == nil || have.user != p.user {
			return unauthorized(errors.New("the receipt is not valid for this user"))
		}
		p.addMethods(have.methods...)
	}
	if p.appCred != "" || p.access != "" {
		return nil // made by a log-in that fulfilled the rules
	}
	var u tokenUser
	err := s.db.Read(ctx, func(tx *db.Tx) error { return tx.Get(ctx, &u, tokenUserFrom+`u.id = ?`, p.user) })
	if errors.Is(err, db.ErrNoRows) {
		return unauthorized(errDisabled)
	}
	if err != nil {
		return err
	}
	rules := factorRules(u.Options.V)
	fits := func(rule []string) bool {
		return !slices.ContainsFunc(rule, func(m string) bool { return !slices.Contains(p.methods, m) })
	}
	if len(rules) == 0 || slices.ContainsFunc(rules, fits) {
		return nil
	}
	now := db.At(s.clock.Now()).Time
	r := &payload{receipt: true, user: p.user, methods: p.methods, issued: now, expires: now.Add(ReceiptTTL)}
	text, err := s.keys.seal(ctx, r.encode())
	if err != nil {
		return err
	}
	return &MoreMethodsError{Receipt: text, Methods: p.methods, User: *bare(&u.User), DomainName: u.DomainName, IssuedAt: r.issued, ExpiresAt: r.expires,
		Required: rules, Fault: fault.Unauthorized("The request you have made requires authentication.").WithCause(errors.New("more factors are needed"))}
}

func (s *Service) openReceipt(ctx context.Context, text string) *payload {
	if len(text) > maxTokenText {
		return nil
	}
	p, err := decodePayload(s.keys.open(ctx, text))
	if err != nil || !p.receipt || !s.clock.Now().Before(p.expires) {
		return nil
	}
	return p
}

// factorRules are the rules that count: none if they are switched off; methods that this cloud does not know make a rule void, and a rule that names no
// method is none.
func factorRules(o Options) [][]string {
	if string(o["multi_factor_auth_enabled"]) == "false" {
		return nil
	}
	var rules, out [][]string
	if json.Unmarshal(o["multi_factor_auth_rules"], &rules) != nil {
		return nil
	}
	for _, r := range rules {
		unknown := slices.ContainsFunc(r, func(m string) bool {
			return !slices.ContainsFunc(methodBits[:], func(x struct {
				name string
				bit  byte
			}) bool {
				return x.name == m
			})
		})
		if len(r) > 0 && !unknown {
			out = append(out, r)
		}
	}
	return out
}
