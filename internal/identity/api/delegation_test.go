package api_test

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the signatures under test
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// member makes a user with a role on a new project, and gives both ids and a token.
func (c *cloud) member(name, role string) (user, project, token string) {
	c.t.Helper()
	user = c.create("user", m{"name": name, "password": "pw"})
	project = c.create("project", m{"name": "p-" + name})
	c.do(204, "PUT", "/v3/projects/"+project+"/users/"+user+"/roles/"+c.roleID(role), nil)
	return user, project, c.login(user, "pw", m{"project": m{"id": project}})
}

func appCredAuth(id, secret string) m {
	return m{"auth": m{"identity": m{"methods": []string{"application_credential"}, "application_credential": m{"id": id, "secret": secret}}}}
}

func TestApplicationCredentials(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		u, p, tok := c.member("ann", "member")
		path := "/v3/users/" + u + "/application_credentials"
		make1 := func(token string, attrs m) answer {
			return c.call(token, "POST", path, m{"application_credential": attrs})
		}
		a := make1(tok, m{"name": "robot", "description": "builds", "roles": []m{{"name": "reader"}}, "expires_at": "2099-01-02T03:04:05.678901"})
		require.Equal(t, 201, a.code, a.text)
		id, secret := a.str("application_credential.id"), a.str("application_credential.secret")
		require.Equal(t, "2099-01-02T03:04:05.678901", a.str("application_credential.expires_at"))
		require.Equal(t, p, a.str("application_credential.project_id"))
		require.Equal(t, false, a.at("application_credential.unrestricted"))
		require.Equal(t, 409, make1(tok, m{"name": "robot"}).code)
		require.Equal(t, 400, make1(tok, m{"name": "x", "roles": []m{{"name": "admin"}}}).code, "not a role of the token")
		require.Equal(t, 400, make1(tok, m{"name": "x", "expires_at": "2001-01-01T00:00:00"}).code)
		require.Equal(t, 400, make1(tok, m{"name": "x", "expires_at": "soon"}).code)
		require.Equal(t, 400, make1(c.login(u, "pw", "unscoped"), m{"name": "x"}).code)
		require.Equal(t, 403, make1(c.admin, m{"name": "x"}).code, "nobody's but the user's own")
		shown := c.call(tok, "GET", path+"/"+id, nil)
		require.Equal(t, 200, shown.code)
		require.NotContains(t, shown.text, "secret")
		require.Equal(t, []string{"robot"}, c.call(tok, "GET", path+"?name=robot", nil).names("application_credentials", "name"))

		// Its tokens: the project and the roles it was given, no more.
		require.Equal(t, 401, c.call("", "POST", "/v3/auth/tokens", appCredAuth(id, "wrong")).code)
		require.Equal(t, 401, c.call("", "POST", "/v3/auth/tokens", appCredAuth("nosuch", secret)).code)
		in := c.call("", "POST", "/v3/auth/tokens", appCredAuth(id, secret))
		require.Equal(t, 201, in.code, in.text)
		robot := in.head.Get("X-Subject-Token")
		require.Equal(t, []string{"reader"}, in.names("token.roles", "name"))
		require.Equal(t, p, in.str("token.project.id"))
		require.Equal(t, true, in.at("token.application_credential.restricted"))
		require.NotContains(t, in.at("token.application_credential"), "access_rules")
		byName := m{"auth": m{"identity": m{"methods": []string{"application_credential"}, "application_credential": m{"name": "robot", "secret": secret, "user": m{"name": "ann", "domain": m{"name": "Default"}}}}}}
		require.Equal(t, 201, c.call("", "POST", "/v3/auth/tokens", byName).code)
		scoped := appCredAuth(id, secret)
		scoped["auth"].(m)["scope"] = m{"project": m{"id": p}}
		require.Equal(t, 401, c.call("", "POST", "/v3/auth/tokens", scoped).code)
		require.Equal(t, 403, make1(robot, m{"name": "more"}).code)
		require.Equal(t, 403, c.call(robot, "DELETE", path+"/"+id, nil).code)
		require.Equal(t, 403, c.call("", "POST", "/v3/auth/tokens", m{"auth": m{"identity": m{"methods": []string{"token"}, "token": m{"id": robot}}}}).code)

		free := make1(tok, m{"name": "free", "unrestricted": true})
		freeTok := c.call("", "POST", "/v3/auth/tokens", appCredAuth(free.str("application_credential.id"), free.str("application_credential.secret"))).head.Get("X-Subject-Token")
		require.Equal(t, 201, make1(freeTok, m{"name": "child"}).code)

		// It ends with itself, and with the roles it stands on.
		require.Equal(t, 200, c.call(robot, "GET", "/v3/auth/projects", nil).code)
		require.Equal(t, 204, c.call(tok, "DELETE", path+"/"+id, nil).code)
		require.Equal(t, 401, c.call(robot, "GET", "/v3/auth/projects", nil).code)
		require.Equal(t, 404, c.call(tok, "GET", path+"/"+id, nil).code)
		c.do(204, "DELETE", "/v3/projects/"+p+"/users/"+u+"/roles/"+c.roleID("member"), nil)
		require.Equal(t, 401, c.call(freeTok, "GET", "/v3/auth/projects", nil).code)
	})
}

func TestAccessRules(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		u, _, tok := c.member("ann", "member")
		path := "/v3/users/" + u + "/application_credentials"
		login := func(rules []m) (string, string) {
			a := c.call(tok, "POST", path, m{"application_credential": m{"name": fmt.Sprint("r", len(rules), time.Now().UnixNano()), "access_rules": rules}})
			require.Equal(t, 201, a.code, a.text)
			in := c.call("", "POST", "/v3/auth/tokens", appCredAuth(a.str("application_credential.id"), a.str("application_credential.secret")))
			require.Equal(t, 201, in.code)
			require.Len(t, in.at("token.application_credential.access_rules"), len(rules))
			return in.head.Get("X-Subject-Token"), a.str("application_credential.id")
		}
		ruled, id := login([]m{{"service": "identity", "method": "GET", "path": "/v3/users/*"}, {"service": "compute", "method": "GET", "path": "/v2.1/**"}})
		require.Equal(t, 200, c.call(ruled, "GET", "/v3/users/"+u, nil).code)
		require.Equal(t, 401, c.call(ruled, "GET", "/v3/users/"+u+"/groups", nil).code)
		require.Equal(t, 401, c.call(ruled, "POST", path, m{"application_credential": m{"name": "x"}}).code)
		require.Equal(t, 404, c.call(c.admin, "GET", "/v3/auth/tokens", nil, "X-Subject-Token", ruled).code, "the asker does not know access rules")
		require.Equal(t, 200, c.call(c.admin, "GET", "/v3/auth/tokens", nil, "X-Subject-Token", ruled, "Openstack-Identity-Access-Rules", "1.0").code)
		none, _ := login([]m{})
		require.Equal(t, 401, c.call(none, "GET", "/v3/users/"+u, nil).code, "no rule at all lets nothing through")

		rules := c.call(tok, "GET", "/v3/users/"+u+"/access_rules", nil)
		require.Equal(t, 200, rules.code)
		require.ElementsMatch(t, []string{"identity", "compute"}, rules.names("access_rules", "service"))
		rule := rules.str("access_rules.0.id")
		require.Equal(t, 200, c.call(tok, "GET", "/v3/users/"+u+"/access_rules/"+rule, nil).code)
		require.Equal(t, 403, c.call(tok, "DELETE", "/v3/users/"+u+"/access_rules/"+rule, nil).code, "in use")
		login([]m{{"id": rule}})
		require.Len(t, c.call(tok, "GET", "/v3/users/"+u+"/access_rules", nil).at("access_rules"), 2, "the same rule is one record")
		require.Equal(t, 204, c.call(tok, "DELETE", path+"/"+id, nil).code)
		require.Equal(t, 204, c.call(tok, "DELETE", "/v3/users/"+u+"/access_rules/"+rules.str("access_rules.1.id"), nil).code)
		require.Equal(t, 400, c.call(tok, "POST", path, m{"application_credential": m{"name": "y", "access_rules": []m{{"id": "nosuch"}}}}).code)
		require.Equal(t, 400, c.call(tok, "POST", path, m{"application_credential": m{"name": "y", "access_rules": []m{{"path": "/x"}}}}).code)
		c.do(204, "DELETE", "/v3/users/"+u, nil)
	})
}

func TestTrusts(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		ann, p, tok := c.member("ann", "member")
		bob, _, bobTok := c.member("bob", "member")
		body := func(more m) m {
			x := m{"trustor_user_id": ann, "trustee_user_id": bob, "project_id": p, "impersonation": true, "roles": []m{{"name": "member"}}}
			for k, v := range more {
				x[k] = v
			}
			return m{"trust": x}
		}
		create := func(more m) answer { return c.call(tok, "POST", "/v3/OS-TRUST/trusts", body(more)) }
		a := create(m{"remaining_uses": 2})
		require.Equal(t, 201, a.code, a.text)
		id := a.str("trust.id")
		require.Equal(t, []string{"member"}, a.names("trust.roles", "name"))
		require.Nil(t, a.at("trust.expires_at"))
		for code, more := range map[int][]m{
			400: {{"expires_at": "2001-01-01T00:00:00Z"}, {"expires_at": "later"}, {"remaining_uses": 0}, {"remaining_uses": 1, "allow_redelegation": true}, {"impersonation": "yes"}},
			403: {{"trustor_user_id": bob}, {"roles": []m{{"name": "admin"}}}, {"roles": []m{}}, {"redelegation_count": 9}},
			404: {{"trustee_user_id": "nosuch"}, {"project_id": "nosuch"}},
		} {
			for _, x := range more {
				require.Equal(t, code, create(x).code, "%v", x)
			}
		}
		use := func(token, trust string) answer {
			return c.call("", "POST", "/v3/auth/tokens", m{"auth": m{"identity": m{"methods": []string{"token"}, "token": m{"id": token}}, "scope": m{"OS-TRUST:trust": m{"id": trust}}}})
		}
		in := use(bobTok, id)
		require.Equal(t, 201, in.code, in.text)
		require.Equal(t, ann, in.str("token.user.id"), "impersonation")
		require.Equal(t, bob, in.str("token.OS-TRUST:trust.trustee_user.id"))
		require.Equal(t, p, in.str("token.project.id"))
		require.Equal(t, 403, use(tok, id).code, "not the trustee")
		trustTok := in.head.Get("X-Subject-Token")
		require.Equal(t, 403, c.call(trustTok, "POST", "/v3/OS-TRUST/trusts", body(nil)).code, "not to be passed on")
		require.Equal(t, 403, c.call(trustTok, "POST", "/v3/users/"+ann+"/application_credentials", m{"application_credential": m{"name": "x"}}).code)
		require.Equal(t, 403, use(trustTok, id).code)
		require.Equal(t, 201, use(bobTok, id).code)
		require.Equal(t, 403, use(bobTok, id).code, "used up")

		// Who sees it.
		path := "/v3/OS-TRUST/trusts"
		chain := create(m{"allow_redelegation": true})
		id = chain.str("trust.id")
		require.EqualValues(t, 3, chain.at("trust.redelegation_count"))
		for who, code := range map[string]int{tok: 200, bobTok: 200, c.admin: 200, c.login(c.create("user", m{"name": "eve", "password": "pw"}), "pw", nil): 403} {
			require.Equal(t, code, c.call(who, "GET", path+"/"+id, nil).code)
		}
		require.Equal(t, 403, c.call(tok, "GET", path, nil).code)
		require.Equal(t, []string{id}, c.call(bobTok, "GET", path+"?trustee_user_id="+bob, nil).names("trusts", "id"), "what is used up is gone")
		require.Equal(t, []string{"member"}, c.call(tok, "GET", path+"/"+id+"/roles", nil).names("roles", "name"))
		require.Equal(t, 404, c.call(tok, "GET", path+"/"+id+"/roles/"+c.roleID("reader"), nil).code)

		// Passed on, and ended together.
		first := use(bobTok, id)
		require.Equal(t, ann, first.str("token.user.id"))
		cat, _, catTok := c.member("cat", "member")
		second := c.call(first.head.Get("X-Subject-Token"), "POST", path, m{"trust": m{"trustor_user_id": ann, "trustee_user_id": cat, "project_id": p, "impersonation": false, "roles": []m{{"name": "member"}}, "allow_redelegation": true}})
		require.Equal(t, 201, second.code, second.text)
		require.Equal(t, id, second.str("trust.redelegated_trust_id"))
		require.EqualValues(t, 2, second.at("trust.redelegation_count"))
		catIn := use(catTok, second.str("trust.id")).head.Get("X-Subject-Token")
		require.Equal(t, 200, c.call(catIn, "GET", "/v3/auth/catalog", nil).code)
		require.Equal(t, 403, c.call(bobTok, "DELETE", path+"/"+id, nil).code)
		require.Equal(t, 204, c.call(tok, "DELETE", path+"/"+id, nil).code)
		require.Equal(t, 401, c.call(catIn, "GET", "/v3/auth/catalog", nil).code)
		require.Equal(t, 404, c.call(tok, "GET", path+"/"+id, nil).code)

		last := use(bobTok, create(m{"impersonation": false}).str("trust.id")).head.Get("X-Subject-Token")
		require.Equal(t, 200, c.call(last, "GET", "/v3/auth/catalog", nil).code)
		c.do(200, "PATCH", "/v3/users/"+ann, m{"user": m{"password": "other"}})
		require.Equal(t, 401, c.call(last, "GET", "/v3/auth/catalog", nil).code, "the trustor's password was changed")
	})
}

func TestEC2(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		u, p, tok := c.member("ann", "member")
		path := "/v3/users/" + u + "/credentials/OS-EC2"
		require.Equal(t, 400, c.call(tok, "POST", path, m{"tenant_id": "nosuch"}).code)
		a := c.call(tok, "POST", path, m{"tenant_id": p})
		require.Equal(t, 201, a.code, a.text)
		access, secret := a.str("credential.access"), a.str("credential.secret")
		require.Equal(t, []string{access}, c.call(tok, "GET", path, nil).names("credentials", "access"))
		require.Equal(t, secret, c.call(tok, "GET", path+"/"+access, nil).str("credential.secret"))
		require.Equal(t, 403, c.call(tok, "GET", "/v3/users/"+c.create("user", m{"name": "x"})+"/credentials/OS-EC2", nil).code)

		text := "GET\nec2:8773\n/services/Cloud\nAWSAccessKeyId=" + access + "&Action=DescribeInstances&SignatureMethod=HmacSHA256&SignatureVersion=2"
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(text))
		signed := m{"access": access, "signature": base64.StdEncoding.EncodeToString(mac.Sum(nil)), "host": "ec2:8773", "verb": "GET", "path": "/services/Cloud",
			"params": m{"AWSAccessKeyId": access, "Action": "DescribeInstances", "SignatureMethod": "HmacSHA256", "SignatureVersion": "2"}}
		in := c.do(200, "POST", "/v3/ec2tokens", m{"credentials": signed})
		require.Equal(t, p, in.str("token.project.id"))
		require.Equal(t, u, in.str("token.user.id"))
		require.Equal(t, "member", c.do(200, "POST", "/v2.0/ec2tokens", m{"credentials": signed}).str("access.user.roles.0.name"))
		require.Equal(t, 403, c.call(tok, "POST", "/v3/ec2tokens", m{"credentials": signed}).code, "only services ask")
		old := m{}
		for k, v := range signed {
			old[k] = v
		}
		old["params"] = m{"SignatureVersion": "2", "Timestamp": "2001-01-01T00:00:00Z"}
		c.do(401, "POST", "/v3/ec2tokens", m{"credentials": old})
		signed["path"] = "/other"
		c.do(401, "POST", "/v3/ec2tokens", m{"credentials": signed})
		signed["access"] = "nosuch"
		c.do(401, "POST", "/v3/ec2tokens", m{"credentials": signed})

		s3 := hmac.New(sha1.New, []byte(secret))
		s3.Write([]byte("PUT\n\n\n/bucket"))
		c.do(200, "POST", "/v3/s3tokens", m{"credentials": m{"access": access, "signature": base64.StdEncoding.EncodeToString(s3.Sum(nil)), "token": base64.URLEncoding.EncodeToString([]byte("PUT\n\n\n/bucket"))}})
		c.do(401, "POST", "/v3/s3tokens", m{"credentials": m{"access": access, "signature": "x", "token": "UFVU"}})

		// The same record as a credential.
		all := c.do(200, "GET", "/v3/credentials?type=ec2&user_id="+u, nil)
		require.Len(t, all.at("credentials"), 1)
		require.Contains(t, all.str("credentials.0.blob"), secret)
		require.Equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte(access))), all.str("credentials.0.id"))
		require.Equal(t, 204, c.call(tok, "DELETE", path+"/"+access, nil).code)
		require.Equal(t, 404, c.call(tok, "GET", path+"/"+access, nil).code)
		c.do(400, "POST", "/v3/credentials", m{"credential": m{"type": "ec2", "blob": "{}", "project_id": p}})
		c.do(400, "POST", "/v3/credentials", m{"credential": m{"type": "ec2", "blob": `{"access": "a", "secret": "b"}`}})
		own := c.call(tok, "POST", "/v3/credentials", m{"credential": m{"type": "cert", "blob": "x", "note": "kept"}})
		require.Equal(t, 201, own.code)
		require.Equal(t, "kept", own.str("credential.note"))
		mine := "/v3/credentials/" + own.str("credential.id")
		require.Equal(t, "y", c.call(tok, "PATCH", mine, m{"credential": m{"blob": "y"}}).str("credential.blob"))
		require.Equal(t, 403, c.call(tok, "PATCH", mine, m{"credential": m{"user_id": "somebody"}}).code)
		require.Len(t, c.call(tok, "GET", "/v3/credentials", nil).at("credentials"), 1, "only one's own")
		require.Equal(t, 204, c.call(tok, "DELETE", mine, nil).code)
	})
}

// signer makes OAuth 1.0a headers.
type signer struct{ key, secret, token, tokenSecret, verifier string }

func (s signer) header(method, address string) string {
	params := map[string]string{"oauth_consumer_key": s.key, "oauth_nonce": "n", "oauth_signature_method": "HMAC-SHA1", "oauth_version": "1.0",
		"oauth_timestamp": strconv.FormatInt(time.Now().Unix(), 10)}
	if s.token != "" {
		params["oauth_token"] = s.token
	}
	if s.verifier != "" {
		params["oauth_verifier"] = s.verifier
	}
	q := url.Values{}
	for k, v := range params {
		q.Set(k, v)
	}
	base := method + "&" + url.QueryEscape(address) + "&" + url.QueryEscape(strings.ReplaceAll(q.Encode(), "+", "%20"))
	mac := hmac.New(sha1.New, []byte(s.secret+"&"+s.tokenSecret))
	mac.Write([]byte(base))
	params["oauth_signature"] = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	var parts []string
	for k, v := range params {
		parts = append(parts, fmt.Sprintf("%s=%q", k, url.QueryEscape(v)))
	}
	return "OAuth " + strings.Join(parts, ", ")
}

func TestOAuth(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		a := c.do(201, "POST", "/v3/OS-OAUTH1/consumers", m{"consumer": m{"description": "ci"}})
		con, secret := a.str("consumer.id"), a.str("consumer.secret")
		require.NotContains(t, c.do(200, "GET", "/v3/OS-OAUTH1/consumers/"+con, nil).text, "secret")
		p := c.do(200, "GET", "/v3/projects?name=admin", nil).str("projects.0.id")
		s := signer{key: con, secret: secret}
		post := func(path string, s signer) (url.Values, int) {
			r := c.call("", "POST", path, nil, "Authorization", s.header("POST", "http://h:5000"+path), "Requested-Project-Id", p)
			v, err := url.ParseQuery(r.text)
			require.NoError(t, err)
			return v, r.code
		}
		_, code := post("/v3/OS-OAUTH1/request_token", signer{key: con, secret: "wrong"})
		require.Equal(t, 401, code)
		v, code := post("/v3/OS-OAUTH1/request_token", s)
		require.Equal(t, 201, code)
		s.token, s.tokenSecret = v.Get("oauth_token"), v.Get("oauth_token_secret")
		_, code = post("/v3/OS-OAUTH1/access_token", s)
		require.Equal(t, 401, code, "nobody has authorised it")
		s.verifier = c.do(200, "PUT", "/v3/OS-OAUTH1/authorize/"+s.token, m{"roles": []m{{"id": c.roleID("member")}}}).str("token.oauth_verifier")
		v, code = post("/v3/OS-OAUTH1/access_token", s)
		require.Equal(t, 201, code)
		_, code = post("/v3/OS-OAUTH1/access_token", s)
		require.Equal(t, 401, code, "once only")

		s.token, s.tokenSecret, s.verifier = v.Get("oauth_token"), v.Get("oauth_token_secret"), ""
		body := m{"auth": m{"identity": m{"methods": []string{"oauth1"}, "oauth1": m{}}}}
		in := c.call("", "POST", "/v3/auth/tokens", body, "Authorization", s.header("POST", "http://h:5000/v3/auth/tokens"))
		require.Equal(t, 201, in.code, in.text)
		require.Equal(t, []string{"member", "reader"}, in.names("token.roles", "name"), "what was given and what that implies")
		require.Equal(t, con, in.str("token.OS-OAUTH1.consumer_id"))
		require.Equal(t, 401, c.call("", "POST", "/v3/auth/tokens", body, "Authorization", signer{key: con, secret: secret, token: s.token}.header("POST", "http://h:5000/v3/auth/tokens")).code)
		tok := in.head.Get("X-Subject-Token")
		user := in.str("token.user.id")
		tokens := "/v3/users/" + user + "/OS-OAUTH1/access_tokens"
		require.Equal(t, []string{s.token}, c.do(200, "GET", tokens, nil).names("access_tokens", "id"))
		require.Equal(t, []string{"member"}, c.do(200, "GET", tokens+"/"+s.token+"/roles", nil).names("roles", "name"))
		require.Equal(t, 200, c.call(tok, "GET", "/v3/auth/catalog", nil).code)
		c.do(204, "DELETE", tokens+"/"+s.token, nil)
		require.Equal(t, 401, c.call(tok, "GET", "/v3/auth/catalog", nil).code)
		require.Equal(t, s.token, c.do(200, "GET", "/v3/OS-REVOKE/events", nil).at("events").([]any)[0].(m)["OS-OAUTH1:access_token_id"])
		c.do(204, "DELETE", "/v3/OS-OAUTH1/consumers/"+con, nil)
	})
}
