package identity

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"
)

// scopeKind is the sort of thing that a token is good for.
type scopeKind byte

const (
	unscoped scopeKind = iota
	projectScope
	domainScope
	systemScope
)

// The methods as bits of the payload.
var methodBits = []struct {
	name string
	bit  byte
}{{"password", 1}, {"token", 2}, {methodAppCred, 4}, {"totp", 8}, {"oauth1", 16}, {"ec2credential", 32}}

const methodAppCred = "application_credential"

// payload is what a token says by itself. Times have microseconds.
type payload struct {
	methods    []string
	user       string
	kind       scopeKind
	scope      string // project or domain id
	userEpoch  int64
	scopeEpoch int64
	issued     time.Time
	expires    time.Time
	audit      []string // own, and that of the chain's first token if this one came from another
	// What the token's rights were borrowed from; at most one is set. user is who logged in: of a trust the trustee.
	trust, appCred, access string
	receipt                bool
	borrowedUntil          time.Time // not in the token: the end of what the rights are borrowed from
}

// payloadForm is the first byte of a plain token; delegatedForm that of one which names a trust, an application credential or an OAuth1
// access token before the rest. receiptForm is no token at all: what a partial multi-factor log-in has proved.
const (
	payloadForm   = 1
	delegatedForm = 2
	receiptForm   = 3
)

var errPayload = errors.New("token payload is malformed")

// encode packs a payload into some 90 bytes, so that the token stays below the 255 characters that Keystone promises.
func (p *payload) encode() []byte {
	b := make([]byte, 0, 128)
	var m byte
	for _, x := range methodBits {
		for _, name := range p.methods {
			if name == x.name {
				m |= x.bit
			}
		}
	}
	switch {
	case p.receipt:
		b = append(b, receiptForm)
	case p.trust+p.appCred+p.access != "":
		b = append(b, delegatedForm)
		b = appendID(appendID(appendID(b, p.trust), p.appCred), p.access)
	default:
		b = append(b, payloadForm)
	}
	b = append(b, m, byte(p.kind))
	b = appendID(b, p.user)
	b = appendID(b, p.scope)
	b = binary.AppendVarint(b, p.userEpoch)
	b = binary.AppendVarint(b, p.scopeEpoch)
	b = binary.AppendVarint(b, p.issued.UnixMicro())
	b = binary.AppendVarint(b, p.expires.UnixMicro()-p.issued.UnixMicro())
	b = append(b, byte(len(p.audit)))
	for _, a := range p.audit {
		raw, _ := base64.RawURLEncoding.DecodeString(a)
		b = append(append(b, byte(len(raw))), raw...)
	}
	return b
}

// appendID packs the usual 32 hex digits into 16 bytes, and keeps other ids ("default") as they are. The first byte is the length of a
// kept id, or 255.
func appendID(b []byte, id string) []byte {
	if len(id) == 32 {
		if raw, err := hex.DecodeString(id); err == nil && hex.EncodeToString(raw) == id {
			return append(append(b, 255), raw...)
		}
	}
	return append(append(b, byte(len(id))), id...)
}

// decodePayload is the inverse of encode.
func decodePayload(b []byte) (*payload, error) {
	r := &byteReader{b: b}
	p := &payload{}
	switch r.byte() {
	case payloadForm:
	case delegatedForm:
		p.trust, p.appCred, p.access = r.id(), r.id(), r.id()
	case receiptForm:
		p.receipt = true
	default:
		return nil, errPayload
	}
	m := r.byte()
	for _, x := range methodBits {
		if m&x.bit != 0 {
			p.methods = append(p.methods, x.name)
		}
	}
	p.kind = scopeKind(r.byte())
	p.user, p.scope = r.id(), r.id()
	p.userEpoch, p.scopeEpoch = r.varint(), r.varint()
	issued := r.varint()
	p.issued = time.UnixMicro(issued).UTC()
	p.expires = time.UnixMicro(issued + r.varint()).UTC()
	for n := r.byte(); n > 0; n-- {
		p.audit = append(p.audit, base64.RawURLEncoding.EncodeToString(r.bytes(int(r.byte()))))
	}
	if r.bad || len(r.b) != 0 || p.kind > systemScope || len(p.audit) == 0 && !p.receipt {
		return nil, errPayload
	}
	return p, nil
}

// byteReader remembers that it ran over the end instead of failing at each step.
type byteReader struct {
	b   []byte
	bad bool
}

func (r *byteReader) bytes(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *byteReader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *byteReader) id() string {
	if n := r.byte(); n != 255 {
		return string(r.bytes(int(n)))
	}
	return hex.EncodeToString(r.bytes(16))
}

func (r *byteReader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}
