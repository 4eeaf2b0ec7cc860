package identity

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fernet/fernet-go"
	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
)

func TestPayloadRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.OneOf(rapid.StringMatching(`[0-9a-f]{32}`), rapid.StringMatching(`[0-9A-F]{32}`), rapid.StringN(0, 60, 200), rapid.Just("default"))
		in := &payload{user: id.Draw(t, "user"), kind: scopeKind(rapid.IntRange(0, 3).Draw(t, "kind")), scope: id.Draw(t, "scope"),
			userEpoch: rapid.Int64().Draw(t, "ue"), scopeEpoch: rapid.Int64Range(0, 1<<40).Draw(t, "se"),
			issued: time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "issued")).UTC()}
		in.expires = in.issued.Add(time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "ttl")) * time.Microsecond)
		for _, m := range methodBits {
			if rapid.Bool().Draw(t, m.name) {
				in.methods = append(in.methods, m.name)
			}
		}
		for range rapid.IntRange(1, 2).Draw(t, "audits") {
			raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "audit")
			in.audit = append(in.audit, base64.RawURLEncoding.EncodeToString(raw))
		}
		switch rapid.IntRange(0, 4).Draw(t, "form") {
		case 1:
			in.trust = id.Filter(func(s string) bool { return s != "" }).Draw(t, "trust")
		case 2:
			in.appCred = id.Filter(func(s string) bool { return s != "" }).Draw(t, "app")
		case 3:
			in.access = id.Filter(func(s string) bool { return s != "" }).Draw(t, "access")
		case 4:
			in.receipt = true
		}
		b := in.encode()
		out, err := decodePayload(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(in, out, cmp.AllowUnexported(payload{})); d != "" {
			t.Fatal(d)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := decodePayload(b[:cut]); err == nil {
			t.Fatalf("%d of %d bytes are accepted", cut, len(b))
		}
	})
}

// ring is a keyring for tokens on d.
func ring(t testing.TB, d *db.DB, clock clockwork.Clock) *keyring {
	k, err := openKeyring(context.Background(), d, clock, forTokens, "a secret of tests")
	require.NoError(t, err)
	return k
}

func TestTokenIsShort(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k := ring(t, dbtest.SQLite(t, Migrations()), clockwork.NewRealClock())
	a := base64.RawURLEncoding.EncodeToString(make([]byte, 16))
	for _, p := range []*payload{
		{user: newID(), scope: newID(), kind: projectScope, methods: []string{"password", "token"}, issued: time.Now(), expires: time.Now().Add(time.Hour), audit: []string{a, a}},
		{user: newID(), scope: newID(), kind: projectScope, methods: []string{"password"}, issued: time.Now(), expires: time.Now().Add(time.Hour), audit: []string{a}, trust: newID()},
		{user: newID(), scope: newID(), kind: projectScope, methods: []string{methodAppCred}, issued: time.Now(), expires: time.Now().Add(time.Hour), audit: []string{a}, appCred: newID()},
	} {
		tok, err := k.seal(ctx, p.encode())
		require.NoError(t, err)
		require.Less(t, len(tok), 256)
		require.NotContains(t, tok, "=")
		require.NotNil(t, k.open(ctx, tok))
		require.NotNil(t, k.open(ctx, tok+strings.Repeat("=", (4-len(tok)%4)%4)), "padding may be there")
	}
}

func TestKeyring(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{Migrations()}, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		clock := clockwork.NewFakeClock()
		const life = time.Hour
		a := ring(t, d, clock)
		b := ring(t, d, clock)
		numbers := func() []int64 {
			var out []int64
			require.NoError(t, d.Read(ctx, func(tx *db.Tx) error { return tx.Select(ctx, &out, `SELECT idx FROM identity_keys ORDER BY idx`) }))
			return out
		}
		rotate := func(k *keyring) {
			require.NoError(t, d.Write(ctx, func(tx *db.Tx) error { _, err := k.rotate(ctx, tx, MaxActiveKeys, life); return err }))
			require.NoError(t, k.load(ctx))
		}
		seal := func(k *keyring, text string) string {
			tok, err := k.seal(ctx, []byte(text))
			require.NoError(t, err)
			return tok
		}
		require.Equal(t, []int64{0, 1}, numbers())
		one := seal(a, "one")
		require.Equal(t, "one", string(b.open(ctx, one)))

		rotate(a)
		require.Equal(t, []int64{0, 1, 2}, numbers())
		require.Equal(t, "two", string(openWith(b.active(), seal(a, "two"))), "the other controller knew the staged key already")
		rotate(a)
		rotate(a)
		require.Equal(t, []int64{0, 1, 2, 3, 4}, numbers(), "tokens alive may need all of them")
		require.Equal(t, "one", string(a.open(ctx, one)))
		clock.Advance(time.Second)
		require.Equal(t, "four", string(b.open(ctx, seal(a, "four"))), "the other controller reads keys that it does not know")

		clock.Advance(life)
		rotate(b)
		require.Equal(t, []int64{0, 4, 5}, numbers(), "what nothing alive can need goes")
		require.NoError(t, a.load(ctx))
		require.Nil(t, a.open(ctx, one))
		for range 2 * mostKeys {
			rotate(b)
		}
		require.Len(t, numbers(), mostKeys, "and never more than so many")

		_, err := openKeyring(ctx, d, clock, forTokens, "another secret, which opens nothing")
		require.ErrorContains(t, err, "another secret")
		_, err = openKeyring(ctx, d, clock, forTokens, "short")
		require.Error(t, err)
		var sealed string
		require.NoError(t, d.Read(ctx, func(tx *db.Tx) error { return tx.Get(ctx, &sealed, `SELECT sealed FROM identity_keys WHERE idx = 0`) }))
		_, err = fernet.DecodeKey(sealed)
		require.Error(t, err, "no key lies in the database in clear")
	})
}

func TestKeyringTwoProcessesStart(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{Migrations()}, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		var wg sync.WaitGroup
		rings := make([]*keyring, 8)
		errs := make([]error, len(rings))
		for i := range rings {
			wg.Go(func() {
				rings[i], errs[i] = openKeyring(ctx, d, clockwork.NewRealClock(), forTokens, "a secret of tests")
			})
		}
		wg.Wait()
		tok, err := rings[0].seal(ctx, []byte("x"))
		require.NoError(t, err)
		for i, k := range rings {
			require.NoError(t, errs[i])
			require.Equal(t, "x", string(k.open(ctx, tok)))
		}
	})
}

func TestBrokenTokens(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k := ring(t, dbtest.SQLite(t, Migrations()), clockwork.NewRealClock())
	tok, err := k.seal(ctx, []byte("hello"))
	require.NoError(t, err)
	for _, bad := range []string{"", "x", "====", "gAAAAA", strings.Repeat("A", 300), strings.Repeat("gAAA", 1000), tok[:len(tok)-4], tok + "AAAA", "\x00\xff", tok[:20] + "é" + tok[22:]} {
		require.Nil(t, k.open(ctx, bad), "%q", bad)
	}
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(tok)
		i := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		b[i] = rapid.Byte().Filter(func(c byte) bool { return c != b[i] }).Draw(t, "to")
		if k.open(ctx, string(b)) != nil {
			t.Fatalf("accepted with another byte at %d: %q", i, b)
		}
	})
	rapid.Check(t, func(t *rapid.T) { k.open(ctx, rapid.String().Draw(t, "noise")) })
}

func TestHasher(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h, err := newHasher(4, 2)
	require.NoError(t, err)
	stored, err := h.hash(ctx, "geheim")
	require.NoError(t, err)
	long := strings.Repeat("x", 100)
	longStored, err := h.hash(ctx, long)
	require.NoError(t, err)
	for _, c := range []struct {
		stored, password string
		want             bool
	}{{stored, "geheim", true}, {stored, "Geheim", false}, {stored, "", false}, {"", "", false}, {"", "password", false}, {longStored, long, true}, {longStored, long[:80] + "y", true}} {
		got, err := h.matches(ctx, c.stored, c.password)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%q", c.password)
	}
	_, err = h.hash(ctx, strings.Repeat("x", MaxPassword+1))
	require.ErrorContains(t, err, "4096")
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	h.slots <- struct{}{}
	h.slots <- struct{}{}
	_, err = h.matches(ctx, stored, "geheim")
	require.ErrorIs(t, err, context.Canceled)
	cost, err := bcrypt.Cost(h.dummy)
	require.NoError(t, err)
	require.Equal(t, 4, cost, "an unknown user takes as long")
	_, err = newHasher(99, 1)
	require.Error(t, err)
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newTokenCache(100)
	now := time.Now()
	for i := range 10_000 {
		c.put(fmt.Sprint(i), cached{loaded: now})
		_, ok := c.get("0")
		require.True(t, ok, "what is in use stays (%d)", i)
	}
	require.LessOrEqual(t, c.len(), 100)
	c.put("0", cached{gen: 5, loaded: now})
	c.put("0", cached{gen: 4, loaded: now.Add(time.Second)})
	e, _ := c.get("0")
	require.EqualValues(t, 5, e.gen, "an older look-up does not replace a newer one")
	c.drop("0")
	_, ok := c.get("0")
	require.False(t, ok)
}

func TestClosureOfImpliedRoles(t *testing.T) {
	t.Parallel()
	rules := []implication{{"admin", "manager"}, {"manager", "member"}, {"member", "reader"}, {"reader", "member"}, {"x", "reader"}}
	require.Equal(t, []string{"manager", "member", "reader"}, closure(rules, "admin"))
	require.Equal(t, []string{"member"}, closure(rules, "reader"))
	require.Empty(t, closure(rules, "none"))
}

func TestFillAddress(t *testing.T) {
	t.Parallel()
	scoped := &Token{}
	scoped.ProjectID, scoped.UserID = "p", "u"
	for _, c := range []struct {
		url  string
		tok  *Token
		want string
		ok   bool
	}{
		{"http://h/v3", &Token{}, "http://h/v3", true},
		{"http://h/v2/%(project_id)s", scoped, "http://h/v2/p", true},
		{"http://h/v2/$(tenant_id)s/$(user_id)s", scoped, "http://h/v2/p/u", true},
		{"http://h/v2/%(tenant_id)s", &Token{}, "", false},
	} {
		got, ok := fill(c.url, c.tok)
		require.Equal(t, c.ok, ok)
		require.Equal(t, c.want, got)
	}
	require.NoError(t, checkURL("http://h/%(project_id)s/$(user_id)s"))
	for _, bad := range []string{"", " ", "http://h/$(nobody)s", "http://h/%(project_id"} {
		require.Error(t, checkURL(bad), bad)
	}
}
