package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the signatures of EC2's versions 0 to 2
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// EC2Request is a request that someone signed with an EC2 key pair and a gateway asks about: POST /ec2tokens.
type EC2Request struct {
	Access    string            `json:"access"`
	Signature string            `json:"signature"`
	Host      string            `json:"host"`
	Verb      string            `json:"verb"`
	Path      string            `json:"path"`
	Params    map[string]string `json:"params"`
	Headers   map[string]string `json:"headers"`
	BodyHash  string            `json:"body_hash"` // SHA-256 in hex; version 4
}

// S3Request is the same of S3: POST /s3tokens. Token is base64 of the text that was signed.
type S3Request struct {
	Access    string `json:"access"`
	Signature string `json:"signature"`
	Token     string `json:"token"`
}

// signatureAge is how old a signed request may be: Keystone's [credential] auth_ttl.
const signatureAge = 15 * time.Minute

// EC2Token checks a signature and gives a token for the key pair's user and project.
func (s *Service) EC2Token(ctx context.Context, r EC2Request) (string, *Token, error) {
	if err := s.signatureFresh(r); err != nil {
		return "", nil, err
	}
	return s.signedToken(ctx, r.Access, func(secret string) bool {
		for _, host := range hosts(r.Host) {
			q := r
			q.Host = host
			if hmac.Equal([]byte(ec2Signature(secret, q)), []byte(r.Signature)) {
				return true
			}
		}
		return false
	})
}

// S3Token is EC2Token for S3's signatures, of version 2 (HMAC-SHA1 of the text) or 4.
func (s *Service) S3Token(ctx context.Context, r S3Request) (string, *Token, error) {
	text, err := base64.URLEncoding.DecodeString(r.Token)
	if err != nil {
		if text, err = base64.StdEncoding.DecodeString(r.Token); err != nil {
			return "", nil, fault.Invalid("token", "Invalid input for field 'token': it is not base64.")
		}
	}
	return s.signedToken(ctx, r.Access, func(secret string) bool {
		return hmac.Equal([]byte(s3Signature(secret, text)), []byte(r.Signature))
	})
}

// signedToken issues for a key pair whose secret made the signature. An unknown access key is checked against a secret that nobody has.
func (s *Service) signedToken(ctx context.Context, access string, fits func(secret string) bool) (string, *Token, error) {
	c, err := s.Credential(ctx, ec2ID(access))
	known := err == nil && c.Type == typeEC2
	if err != nil && !fault.IsNotFound(err) {
		return "", nil, err
	}
	secret := newID()
	if known {
		pair, err := pairOf(c)
		if err != nil {
			return "", nil, err
		}
		if known = ec2ID(pair.Access) == c.ID; known {
			secret = pair.Secret
		}
	}
	if good := fits(secret); !good || !known {
		return "", nil, unauthorized(errors.New("no such access key, or another signature"))
	}
	p := &payload{user: c.UserID, methods: []string{"ec2credential"}, kind: projectScope, scope: c.ProjectID, appCred: c.AppCredentialID}
	if c.TrustID != "" {
		if err := s.db.Read(ctx, func(tx *db.Tx) error {
			tr, err := trustByID(ctx, tx, c.TrustID)
			if err != nil {
				return borrowed(err)
			}
			p.user, p.trust, p.borrowedUntil = tr.TrusteeUserID, tr.ID, tr.ExpiresAt.Time
			return nil
		}); err != nil {
			return "", nil, err
		}
	}
	return s.issue(ctx, p)
}

// signatureFresh looks at the time that a request was signed, where it says so.
func (s *Service) signatureFresh(r EC2Request) error {
	var at time.Time
	var err error
	switch text := or(or(r.Params["X-Amz-Date"], header(r.Headers, "X-Amz-Date")), r.Params["Timestamp"]); {
	case text == "":
		return nil
	case len(text) == len("20060102T150405Z"):
		at, err = time.Parse("20060102T150405Z", text)
	default:
		at, err = time.Parse(time.RFC3339, strings.TrimSuffix(text, "Z")+"Z")
	}
	if err != nil {
		return unauthorized(errors.New("the time of the signature cannot be read"))
	}
	if age := s.clock.Since(at); age > signatureAge || age < -signatureAge {
		return unauthorized(errors.New("the signature is too old"))
	}
	return nil
}

// hosts are the forms that a client may have signed: with the port, and without.
func hosts(host string) []string {
	if bare, _, err := net.SplitHostPort(host); err == nil {
		return []string{host, bare}
	}
	return []string{host}
}

func header(h map[string]string, name string) string {
	for k, v := range h {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// ec2Signature signs as the request says that it was signed: by SignatureVersion 0, 1 or 2, or by AWS's version 4.
func ec2Signature(secret string, r EC2Request) string {
	sum := func(h func() hash.Hash, text string) string {
		m := hmac.New(h, []byte(secret))
		m.Write([]byte(text))
		return base64.StdEncoding.EncodeToString(m.Sum(nil))
	}
	switch r.Params["SignatureVersion"] {
	case "0":
		return sum(sha1.New, r.Params["Action"]+r.Params["Timestamp"])
	case "1":
		keys := paramNames(r.Params)
		slices.SortFunc(keys, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
		var b strings.Builder
		for _, k := range keys {
			b.WriteString(k + r.Params[k])
		}
		return sum(sha1.New, b.String())
	case "2":
		text := r.Verb + "\n" + r.Host + "\n" + r.Path + "\n" + canonicalQuery(r.Params, "Signature")
		if r.Params["SignatureMethod"] == "HmacSHA1" {
			return sum(sha1.New, text)
		}
		return sum(sha256.New, text)
	}
	return signature4(secret, r)
}

func paramNames(params map[string]string) []string {
	var keys []string
	for k := range params {
		if k != "Signature" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// canonicalQuery is AWS's: sorted, with RFC 3986 escapes, without the signature itself.
func canonicalQuery(params map[string]string, without string) string {
	var parts []string
	for k, v := range params {
		if k != without {
			parts = append(parts, escape(k)+"="+escape(v))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "&")
}

func escape(s string) string {
	return strings.NewReplacer("+", "%20", "%7E", "~").Replace(url.QueryEscape(s))
}

// signature4 rebuilds the canonical request of AWS's version 4. The credential's scope and the signed headers stand in the query or in the header
// Authorization.
func signature4(secret string, r EC2Request) string {
	scope, signed, date := r.Params["X-Amz-Credential"], r.Params["X-Amz-SignedHeaders"], r.Params["X-Amz-Date"]
	inQuery := scope != ""
	if !inQuery {
		date = header(r.Headers, "X-Amz-Date")
		for part := range strings.SplitSeq(strings.TrimPrefix(header(r.Headers, "Authorization"), "AWS4-HMAC-SHA256"), ",") {
			switch k, v, _ := strings.Cut(strings.TrimSpace(part), "="); k {
			case "Credential":
				scope = v
			case "SignedHeaders":
				signed = v
			}
		}
	}
	parts := strings.Split(scope, "/")
	if len(parts) < 5 || len(date) < 8 {
		return ""
	}
	parts = parts[len(parts)-4:] // date, region, service, aws4_request
	var head strings.Builder
	for name := range strings.SplitSeq(signed, ";") {
		value := header(r.Headers, name)
		if strings.EqualFold(name, "host") {
			value = r.Host
		}
		head.WriteString(strings.ToLower(name) + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	query := ""
	if r.Verb != "POST" || inQuery {
		query = canonicalQuery(r.Params, "X-Amz-Signature")
	}
	canonical := strings.Join([]string{r.Verb, r.Path, query, head.String(), signed, r.BodyHash}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", date, strings.Join(parts, "/"), hex.EncodeToString(sum[:])}, "\n")
	return signText4(secret, parts, text)
}

// signText4 signs with the key that version 4 derives from date, region and service.
func signText4(secret string, scope []string, text string) string {
	key := []byte("AWS4" + secret)
	for _, part := range append(slices.Clone(scope), text) {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	return hex.EncodeToString(key)
}

// s3Signature signs a text: one of version 4 says so in its first line and names its scope in the third.
func s3Signature(secret string, text []byte) string {
	if lines := strings.Split(string(text), "\n"); lines[0] == "AWS4-HMAC-SHA256" && len(lines) == 4 {
		return signText4(secret, strings.Split(lines[2], "/"), string(text))
	}
	m := hmac.New(sha1.New, []byte(secret))
	m.Write(text)
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}
