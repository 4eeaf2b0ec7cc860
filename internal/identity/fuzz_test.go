package identity

import (
	"context"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"nephos/internal/db/dbtest"
)

// FuzzToken throws texts at the token decoder: whatever comes, no panic, and nothing is opened that the key has not sealed. The bytes are
// also taken as a payload that somebody with the key would have sealed: what is decoded must come out the same when it is encoded again.
func FuzzToken(f *testing.F) {
	k := ring(f, dbtest.SQLite(f, Migrations()), clockwork.NewRealClock())
	now := time.UnixMicro(1_700_000_000_000_000).UTC()
	good := &payload{user: "0123456789abcdef0123456789abcdef", scope: "default", kind: domainScope, methods: []string{"password"}, issued: now, expires: now.Add(time.Hour), audit: []string{"AAAAAAAAAAAAAAAAAAAAAA"}}
	trust := *good
	trust.trust = "00112233445566778899aabbccddeeff"
	receipt := payload{receipt: true, user: "u", issued: now, expires: now, methods: []string{"totp"}}
	for _, p := range []*payload{good, &trust, &receipt} {
		tok, err := k.seal(context.Background(), p.encode())
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(tok))
		f.Add(p.encode())
	}
	f.Add([]byte("gAAAAABo"))
	f.Add([]byte{payloadForm, 0xff, 3, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		if msg := openWith(k.active(), string(b)); msg != nil {
			if _, err := decodePayload(msg); err != nil {
				t.Fatalf("a sealed message that is no payload: %v", err)
			}
		}
		p, err := decodePayload(b)
		if err != nil {
			return
		}
		again, err := decodePayload(p.encode())
		if err != nil || again.user != p.user || again.scope != p.scope || again.kind != p.kind || again.trust != p.trust || !again.expires.Equal(p.expires) {
			t.Fatalf("%+v becomes %+v: %v", p, again, err)
		}
	})
}

// FuzzSignature throws requests at the canonical forms of EC2, S3 and OAuth: no panic, whatever they say.
func FuzzSignature(f *testing.F) {
	f.Add("2", "AWSAccessKeyId", "x", "20260102T030405Z", "AWS4-HMAC-SHA256 Credential=a/20260102/r/s/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	f.Add("0", "Action", "", "", "")
	f.Fuzz(func(_ *testing.T, version, key, value, date, auth string) {
		r := EC2Request{Access: "a", Host: value + ":80", Verb: "GET", Path: "/" + value, Params: map[string]string{"SignatureVersion": version, key: value, "X-Amz-Date": date},
			Headers: map[string]string{"Authorization": auth, "X-Amz-Date": date}}
		ec2Signature("secret", r)
		s3Signature("secret", []byte(auth+"\n"+value+"\n"+date+"\n"+key))
		ParseOAuth("POST", "http://h/"+value, auth, nil)
	})
}
