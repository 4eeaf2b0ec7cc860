package identity

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"
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

func TestTokenIsShort(t *testing.T) {
	t.Parallel()
	k, err := openKeyring(t.TempDir())
	require.NoError(t, err)
	a := base64.RawURLEncoding.EncodeToString(make([]byte, 16))
	p := &payload{user: newID(), scope: newID(), kind: projectScope, methods: []string{"password", "token"}, issued: time.Now(), expires: time.Now().Add(time.Hour), audit: []string{a, a}}
	tok, err := k.seal(p.encode())
	require.NoError(t, err)
	require.Less(t, len(tok), 256)
	require.NotContains(t, tok, "=")
	require.NotNil(t, k.open(tok))
	require.NotNil(t, k.open(tok+strings.Repeat("=", (4-len(tok)%4)%4)), "padding may be there")
}

func TestKeyringFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "fernet")
	a, err := openKeyring(dir)
	require.NoError(t, err)
	names := func() string {
		idx, err := a.indexes()
		require.NoError(t, err)
		return fmt.Sprint(idx)
	}
	require.Equal(t, "[0 1]", names())
	info, err := os.Stat(filepath.Join(dir, "1"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	first, err := a.seal([]byte("one"))
	require.NoError(t, err)
	b, err := openKeyring(dir)
	require.NoError(t, err)
	require.Equal(t, "one", string(b.open(first)))

	staged, err := os.ReadFile(filepath.Join(dir, "0"))
	require.NoError(t, err)
	require.NoError(t, a.rotate(MaxActiveKeys))
	require.Equal(t, "[0 1 2]", names())
	primary, err := os.ReadFile(filepath.Join(dir, "2"))
	require.NoError(t, err)
	require.Equal(t, staged, primary, "the staged key becomes the primary")
	second, err := a.seal([]byte("two"))
	require.NoError(t, err)
	require.Equal(t, "two", string(b.open(second)), "another process already knew the staged key")

	require.NoError(t, a.rotate(MaxActiveKeys))
	require.Equal(t, "[0 2 3]", names())
	require.Nil(t, a.open(first), "its key is gone")
	third, err := a.seal([]byte("three"))
	require.NoError(t, err)
	require.NoError(t, a.rotate(MaxActiveKeys))
	fourth, err := a.seal([]byte("four"))
	require.NoError(t, err)
	require.Equal(t, "three", string(b.open(third)), "another process loads files that it does not know")
	require.Equal(t, "four", string(b.open(fourth)))
}

func TestKeyringAfterCrash(t *testing.T) {
	t.Parallel()
	for name, files := range map[string][]string{"only the primary": {"1"}, "no staged key": {"3", "4"}, "only a staged key": {"0"}, "a half-written one": {"1", ".new"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for i, f := range files {
				text := base64.URLEncoding.EncodeToString([]byte(strings.Repeat(string(rune('a'+i)), 32)))
				if f == ".new" {
					text = "half"
				}
				require.NoError(t, os.WriteFile(filepath.Join(dir, f), []byte(text), 0o600))
			}
			k, err := openKeyring(dir)
			require.NoError(t, err)
			tok, err := k.seal([]byte("x"))
			require.NoError(t, err)
			require.NoError(t, k.rotate(MaxActiveKeys))
			require.Equal(t, "x", string(k.open(tok)))
		})
	}
}

func TestKeyringTwoProcessesStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "fernet")
	var wg sync.WaitGroup
	rings := make([]*keyring, 8)
	for i := range rings {
		wg.Go(func() { rings[i], _ = openKeyring(dir) })
	}
	wg.Wait()
	tok, err := rings[0].seal([]byte("x"))
	require.NoError(t, err)
	for _, k := range rings {
		require.Equal(t, "x", string(k.open(tok)))
	}
}

func TestBrokenTokens(t *testing.T) {
	t.Parallel()
	k, err := openKeyring(t.TempDir())
	require.NoError(t, err)
	tok, err := k.seal([]byte("hello"))
	require.NoError(t, err)
	for _, bad := range []string{"", "x", "====", "gAAAAA", strings.Repeat("A", 300), strings.Repeat("gAAA", 1000), tok[:len(tok)-4], tok + "AAAA", "\x00\xff", tok[:20] + "é" + tok[22:]} {
		require.Nil(t, k.open(bad), "%q", bad)
	}
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(tok)
		i := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		b[i] = rapid.Byte().Filter(func(c byte) bool { return c != b[i] }).Draw(t, "to")
		if k.open(string(b)) != nil {
			t.Fatalf("accepted with another byte at %d: %q", i, b)
		}
	})
	rapid.Check(t, func(t *rapid.T) { k.open(rapid.String().Draw(t, "noise")) })
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
