package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // HMAC-SHA1 is OAuth 1.0a's signature
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Consumer is a program that users may let act for them (OAuth 1.0a).
type Consumer struct {
	ID          string         `db:"id"`
	Secret      string         `db:"secret"` // in clear only in what CreateConsumer returns; sealed in the database
	Description *string        `db:"description"`
	Extra       db.JSON[Extra] `db:"extra"`
}

// AccessToken is a right that a user has given to a consumer: some roles on a project.
type AccessToken struct {
	ID         string            `db:"id"`
	Secret     string            `db:"secret"`
	ConsumerID string            `db:"consumer_id"`
	ProjectID  string            `db:"project_id"`
	UserID     string            `db:"user_id"`
	RoleIDs    db.JSON[[]string] `db:"role_ids"`
	ExpiresAt  db.Time           `db:"expires_at"` // zero: never
}

type requestToken struct {
	ID         string            `db:"id"`
	Secret     string            `db:"secret"`
	ConsumerID string            `db:"consumer_id"`
	ProjectID  string            `db:"project_id"`
	UserID     string            `db:"user_id"`
	RoleIDs    db.JSON[[]string] `db:"role_ids"`
	Verifier   string            `db:"verifier"`
	ExpiresAt  db.Time           `db:"expires_at"`
}

// Lives of OAuth1 tokens: Keystone's [oauth1] request_token_duration and access_token_duration.
const (
	requestTokenTTL = 8 * time.Hour
	accessTokenTTL  = 24 * time.Hour
	oauthClockSkew  = 5 * time.Minute
)

// SignedRequest is a request with an OAuth 1.0a signature. Params are those of the header Authorization, without the realm, and of the query.
type SignedRequest struct {
	Method, URL string // without query
	Params      map[string]string
}

// ParseOAuth takes the header Authorization apart; nil if it is no OAuth header.
func ParseOAuth(method, address, header string, query url.Values) *SignedRequest {
	rest, ok := strings.CutPrefix(header, "OAuth ")
	if !ok {
		return nil
	}
	r := &SignedRequest{Method: method, URL: address, Params: map[string]string{}}
	for part := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		value, err := url.PathUnescape(strings.Trim(v, `"`))
		if k == "realm" || err != nil {
			continue
		}
		r.Params[k] = value
	}
	for k := range query {
		r.Params[k] = query.Get(k)
	}
	return r
}

// signed says whether the signature was made with these secrets, and lately.
func (s *Service) signed(r *SignedRequest, consumerSecret, tokenSecret string) bool {
	at, err := strconv.ParseInt(r.Params["oauth_timestamp"], 10, 64)
	if age := s.clock.Since(time.Unix(at, 0)); err != nil || age > oauthClockSkew || age < -oauthClockSkew {
		return false
	}
	if m := r.Params["oauth_signature_method"]; m != "HMAC-SHA1" || r.Params["oauth_nonce"] == "" {
		return false
	}
	base := strings.ToUpper(r.Method) + "&" + escape(normalURL(r.URL)) + "&" + escape(canonicalQuery(r.Params, "oauth_signature"))
	mac := hmac.New(sha1.New, []byte(escape(consumerSecret)+"&"+escape(tokenSecret)))
	mac.Write([]byte(base))
	return hmac.Equal([]byte(base64.StdEncoding.EncodeToString(mac.Sum(nil))), []byte(r.Params["oauth_signature"]))
}

// normalURL is RFC 5849's base string URI: lower case, without the port that the scheme has anyway.
func normalURL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "http" {
		host = strings.TrimSuffix(host, ":80")
	} else {
		host = strings.TrimSuffix(host, ":443")
	}
	return strings.ToLower(u.Scheme) + "://" + host + u.EscapedPath()
}

// CreateConsumer makes a consumer with a new secret, which is told only now.
func (s *Service) CreateConsumer(ctx context.Context, c Consumer) (*Consumer, error) {
	secret := newID()
	sealed, err := s.vault.seal(ctx, []byte(secret))
	if err != nil {
		return nil, err
	}
	c.ID, c.Secret = newID(), sealed
	err = s.write(ctx, func(tx *db.Tx) error { return tx.Insert(ctx, "identity_consumers", c) })
	c.Secret = secret
	return &c, err
}

// Consumer looks one up, without the secret.
func (s *Service) Consumer(ctx context.Context, id string) (*Consumer, error) {
	c := &Consumer{}
	err := s.db.Read(ctx, func(tx *db.Tx) error { return consumerByID(ctx, tx, id, c) })
	c.Secret = ""
	return c, err
}

func consumerByID(ctx context.Context, tx *db.Tx, id string, c *Consumer) error {
	return get(ctx, tx, c, "consumer", id, `SELECT * FROM identity_consumers WHERE id = ?`, id)
}

// Consumers lists them, without secrets.
func (s *Service) Consumers(ctx context.Context) ([]Consumer, error) {
	var out []Consumer
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT * FROM identity_consumers ORDER BY id`)
	})
	for i := range out {
		out[i].Secret = ""
	}
	return out, err
}

// UpdateConsumer changes one by edit, which must not change id and secret.
func (s *Service) UpdateConsumer(ctx context.Context, id string, edit func(*Consumer) error) (*Consumer, error) {
	c := &Consumer{}
	err := s.write(ctx, func(tx *db.Tx) error {
		*c = Consumer{}
		if err := consumerByID(ctx, tx, id, c); err != nil {
			return err
		}
		if err := edit(c); err != nil {
			return err
		}
		_, err := tx.NamedExec(ctx, `UPDATE identity_consumers SET description = :description, extra = :extra WHERE id = :id`, c)
		return err
	})
	c.Secret = ""
	return c, err
}

// DeleteConsumer removes one with all rights it was given.
func (s *Service) DeleteConsumer(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		if err := s.revokeEvent(ctx, tx, RevokeEvent{ConsumerID: id}); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM identity_consumers WHERE id = ?`, id)
		return affected(n, err, "consumer", id)
	})
}

// consumerSecret opens a consumer's secret; a random one for an unknown consumer.
func (s *Service) consumerSecret(ctx context.Context, id string) (string, error) {
	c := &Consumer{}
	err := s.db.Read(ctx, func(tx *db.Tx) error { return consumerByID(ctx, tx, id, c) })
	if fault.IsNotFound(err) {
		return newID(), nil
	}
	return string(s.vault.open(ctx, c.Secret)), err
}

// RequestToken is step one: a consumer asks for rights on a project. 401 for a wrong signature, 404 for an unknown project.
func (s *Service) RequestToken(ctx context.Context, r *SignedRequest, project string) (id, secret string, expires time.Time, err error) {
	if r == nil {
		return "", "", expires, unauthorized(errors.New("the request is not signed"))
	}
	key, err := s.consumerSecret(ctx, r.Params["oauth_consumer_key"])
	if err != nil {
		return "", "", expires, err
	}
	if !s.signed(r, key, "") {
		return "", "", expires, unauthorized(errors.New("the OAuth signature does not fit"))
	}
	if _, err := s.Project(ctx, project); err != nil {
		return "", "", expires, err
	}
	id, secret = newID(), newID()
	sealed, err := s.vault.seal(ctx, []byte(secret))
	if err != nil {
		return "", "", expires, err
	}
	row := requestToken{ID: id, Secret: sealed, ConsumerID: r.Params["oauth_consumer_key"], ProjectID: project, RoleIDs: db.AsJSON([]string{}),
		ExpiresAt: db.At(s.clock.Now().Add(requestTokenTTL))}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM identity_request_tokens WHERE expires_at < ?`, db.At(s.clock.Now())); err != nil {
			return err
		}
		return tx.Insert(ctx, "identity_request_tokens", row)
	})
	return id, secret, row.ExpiresAt.Time, err
}

// AuthorizeRequest is step two: the token's user gives roles, and gets the verifier to tell the consumer. 401: a role that the user does not have on the
// project; 404: no such request.
func (s *Service) AuthorizeRequest(ctx context.Context, t *Token, id string, refs []RoleRef) (string, error) {
	if t.Delegated() {
		return "", fault.Forbidden("Only the user can authorise an OAuth request token: the token's rights are borrowed.")
	}
	verifier, err := randomText(6)
	if err != nil {
		return "", err
	}
	err = s.write(ctx, func(tx *db.Tx) error {
		req := requestToken{}
		if err := get(ctx, tx, &req, "request token", id, `SELECT * FROM identity_request_tokens WHERE id = ?`, id); err != nil {
			return err
		}
		if s.past(req.ExpiresAt) {
			return notFound("request token", id)
		}
		held, err := heldRoles(ctx, tx, t.UserID, projectScope, req.ProjectID)
		if err != nil {
			return err
		}
		ids := []string{}
		for _, ref := range refs {
			role, err := findRole(ctx, tx, ref)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(held, func(h heldRole) bool { return h.ID == role.ID }) {
				return fault.Unauthorized("authorizing user does not have role required")
			}
			ids = append(ids, role.ID)
		}
		_, err = tx.Exec(ctx, `UPDATE identity_request_tokens SET user_id = ?, role_ids = ?, verifier = ? WHERE id = ?`, t.UserID, db.AsJSON(ids), verifier, id)
		return err
	})
	return verifier, err
}

// TradeRequest is step three: the consumer changes an authorised request token into an access token, once.
func (s *Service) TradeRequest(ctx context.Context, r *SignedRequest) (*AccessToken, error) {
	bad := unauthorized(errors.New("no such authorised request token, or another signature"))
	if r == nil {
		return nil, bad
	}
	key, err := s.consumerSecret(ctx, r.Params["oauth_consumer_key"])
	if err != nil {
		return nil, err
	}
	secret := newID()
	sealed, err := s.vault.seal(ctx, []byte(secret))
	if err != nil {
		return nil, err
	}
	var a *AccessToken
	err = s.write(ctx, func(tx *db.Tx) error {
		req := requestToken{}
		err := tx.Get(ctx, &req, `SELECT * FROM identity_request_tokens WHERE id = ?`, r.Params["oauth_token"])
		if errors.Is(err, db.ErrNoRows) {
			return bad
		}
		if err != nil {
			return err
		}
		own := string(openWith(s.vault.active(), req.Secret))
		right := s.signed(r, key, own) && hmac.Equal([]byte(req.Verifier), []byte(r.Params["oauth_verifier"])) && req.Verifier != ""
		if !right || s.past(req.ExpiresAt) || req.ConsumerID != r.Params["oauth_consumer_key"] {
			return bad
		}
		a = &AccessToken{ID: newID(), Secret: sealed, ConsumerID: req.ConsumerID, ProjectID: req.ProjectID, UserID: req.UserID, RoleIDs: req.RoleIDs,
			ExpiresAt: db.At(s.clock.Now().Add(accessTokenTTL))}
		if _, err := tx.Exec(ctx, `DELETE FROM identity_request_tokens WHERE id = ?`, req.ID); err != nil {
			return err
		}
		return tx.Insert(ctx, "identity_access_tokens", a)
	})
	if err != nil {
		return nil, err
	}
	a.Secret = secret
	return a, nil
}

// verifyAccess is method oauth1 of a log-in.
func (s *Service) verifyAccess(ctx context.Context, r *SignedRequest) (*AccessToken, error) {
	bad := unauthorized(errors.New("no such access token, or another signature"))
	if r == nil {
		return nil, bad
	}
	key, err := s.consumerSecret(ctx, r.Params["oauth_consumer_key"])
	if err != nil {
		return nil, err
	}
	a := &AccessToken{}
	err = s.db.Read(ctx, func(tx *db.Tx) (err error) {
		a, err = accessTokenByID(ctx, tx, r.Params["oauth_token"])
		return err
	})
	if errors.Is(err, db.ErrNoRows) {
		return nil, bad
	}
	if err != nil {
		return nil, err
	}
	if !s.signed(r, key, string(s.vault.open(ctx, a.Secret))) || a.ConsumerID != r.Params["oauth_consumer_key"] || s.past(a.ExpiresAt) {
		return nil, bad
	}
	return a, nil
}

func accessTokenByID(ctx context.Context, tx *db.Tx, id string) (*AccessToken, error) {
	a := &AccessToken{}
	return a, tx.Get(ctx, a, `SELECT * FROM identity_access_tokens WHERE id = ?`, id)
}

// AccessTokens lists those that a user has given, without secrets.
func (s *Service) AccessTokens(ctx context.Context, user string) ([]AccessToken, error) {
	var out []AccessToken
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT * FROM identity_access_tokens WHERE user_id = ? ORDER BY id`, user)
	})
	for i := range out {
		out[i].Secret = ""
	}
	return out, err
}

// AccessToken looks one of a user's up, with its roles.
func (s *Service) AccessToken(ctx context.Context, user, id string) (*AccessToken, []Role, error) {
	a := &AccessToken{}
	var roles []Role
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		if err := get(ctx, tx, a, "access token", id, `SELECT * FROM identity_access_tokens WHERE id = ? AND user_id = ?`, id, user); err != nil {
			return err
		}
		if len(a.RoleIDs.V) == 0 {
			return nil
		}
		return tx.Select(ctx, &roles, `SELECT * FROM identity_roles WHERE id IN (?) ORDER BY name`, a.RoleIDs.V)
	})
	a.Secret = ""
	return a, roles, err
}

// DeleteAccessToken takes a right back; tokens drawn from it end at once.
func (s *Service) DeleteAccessToken(ctx context.Context, user, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		if err := s.revokeEvent(ctx, tx, RevokeEvent{AccessTokenID: id, UserID: user}); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM identity_access_tokens WHERE id = ? AND user_id = ?`, id, user)
		return affected(n, err, "access token", id)
	})
}
