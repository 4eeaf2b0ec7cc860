package agent

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nephos/internal/hostapi"
)

func membersOf(a *Agent) []string { return a.doc.SecurityGroups[0].Members }

// Changes of a group's members may come twice, late, in any order or not at all, and documents may overtake them: what the host then has is what it was told last, or
// it knows that it has missed something.
func TestMemberChangesConverge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		a := New(Config{StateDir: dir})
		address := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("10.0.0.%d", rapid.IntRange(1, 9).Draw(t, "host")) })
		set := rapid.Custom(func(t *rapid.T) []string {
			s := rapid.SliceOf(address).Draw(t, "set")
			slices.Sort(s)
			return slices.Compact(s)
		})
		var history [][]string
		var changes []hostapi.MemberChange
		for revision := range rapid.IntRange(1, 6).Draw(t, "revisions") {
			now := set.Draw(t, "members")
			c := hostapi.MemberChange{GroupID: "g", Revision: int64(revision), Sum: hostapi.SumOf(now)}
			if revision > 0 {
				for _, m := range now {
					if !slices.Contains(history[revision-1], m) {
						c.Added = append(c.Added, m)
					}
				}
				for _, m := range history[revision-1] {
					if !slices.Contains(now, m) {
						c.Removed = append(c.Removed, m)
					}
				}
			}
			history, changes = append(history, now), append(changes, c)
		}
		doc := func(revision int) hostapi.NetworkDocument {
			return hostapi.NetworkDocument{Revision: int64(revision), SecurityGroups: []hostapi.SecurityGroupSpec{{ID: "g", Members: slices.Clone(history[revision]), MembersAt: int64(revision)}}}
		}
		require.NoError(t, a.take(doc(0)))
		for range rapid.IntRange(0, 12).Draw(t, "messages") {
			at := rapid.IntRange(0, len(history)-1).Draw(t, "at")
			before := a.doc.SecurityGroups[0].MembersAt
			if rapid.Bool().Draw(t, "document") {
				require.NoError(t, a.take(doc(at)))
			} else {
				got, err := a.change(changes[at])
				require.NoError(t, err)
				if int64(at) <= before {
					require.Equal(t, nothing, got)
				}
			}
			now := a.doc.SecurityGroups[0]
			require.GreaterOrEqual(t, now.MembersAt, before, "members never go back")
			require.ElementsMatch(t, history[now.MembersAt], []string(now.Members))
		}
	})
}

func TestMemberChangeOfAnUnknownGroupIsNotOurs(t *testing.T) {
	t.Parallel()
	a := New(Config{StateDir: t.TempDir()})
	got, err := a.change(hostapi.MemberChange{GroupID: "other", Revision: 3, Added: []string{"10.0.0.1"}})
	require.NoError(t, err)
	require.Equal(t, nothing, got)
}

func TestMissedMemberChangeIsSeen(t *testing.T) {
	t.Parallel()
	a := New(Config{StateDir: t.TempDir()})
	require.NoError(t, a.take(hostapi.NetworkDocument{Revision: 1, SecurityGroups: []hostapi.SecurityGroupSpec{{ID: "g", Members: []string{"10.0.0.1"}, MembersAt: 1}}}))
	got, err := a.change(hostapi.MemberChange{GroupID: "g", Revision: 3, Added: []string{"10.0.0.3"}, Sum: hostapi.SumOf([]string{"10.0.0.1", "10.0.0.2", "10.0.0.3"})})
	require.NoError(t, err)
	require.Equal(t, missed, got)
	require.Equal(t, []string{"10.0.0.1"}, membersOf(a), "half a truth is not kept")
	got, err = a.change(hostapi.MemberChange{GroupID: "g", Revision: 3, Added: []string{"10.0.0.3"}, Removed: []string{"10.0.0.1"}, Sum: hostapi.SumOf([]string{"10.0.0.3"})})
	require.NoError(t, err)
	require.Equal(t, done, got)
	require.Equal(t, []string{"10.0.0.3"}, membersOf(a))
}
