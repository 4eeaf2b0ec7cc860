package network

import (
	"context"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
)

const (
	bitmapMost  = 1 << 20                // pools with more addresses are chosen from at random, without a map
	fullRecheck = 250 * time.Millisecond // how long "no address left" is believed without asking SQL again
)

// Range is an inclusive range of addresses, as Neutron's allocation_pools has it.
type Range struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

type ipRange struct {
	start, end netip.Addr
	base       uint64 // index of start in the pool's map
}

// size is the number of addresses, at most 1<<63.
func (r ipRange) size() uint64 {
	d := distance(r.start, r.end)
	if d >= 1<<63-1 {
		return 1 << 63
	}
	return d + 1
}

func (r ipRange) contains(a netip.Addr) bool { return r.start.Compare(a) <= 0 && a.Compare(r.end) <= 0 }

// distance is b-a, saturated at the largest uint64; a must not be above b.
func distance(a, b netip.Addr) uint64 {
	x, y := a.As16(), b.As16()
	lo, borrow := bits.Sub64(binary.BigEndian.Uint64(y[8:]), binary.BigEndian.Uint64(x[8:]), 0)
	hi, _ := bits.Sub64(binary.BigEndian.Uint64(y[:8]), binary.BigEndian.Uint64(x[:8]), borrow)
	if hi != 0 {
		return ^uint64(0)
	}
	return lo
}

// plus is a+n in a's family.
func plus(a netip.Addr, n uint64) netip.Addr {
	x := a.As16()
	lo, carry := bits.Add64(binary.BigEndian.Uint64(x[8:]), n, 0)
	binary.BigEndian.PutUint64(x[8:], lo)
	binary.BigEndian.PutUint64(x[:8], binary.BigEndian.Uint64(x[:8])+carry)
	out := netip.AddrFrom16(x)
	if a.Is4() {
		return out.Unmap()
	}
	return out
}

// pools are the free maps of the subnets in use. They are hints: the primary key of ip_allocations decides. A bit that is set for an address
// that is free (another controller released it) costs a reload when the pool looks full, never
// a wrong refusal; a bit that is missing costs one insert that does nothing.
type pools struct {
	mu sync.Mutex
	m  map[string]*pool
}

type pool struct {
	mu       sync.Mutex
	ranges   []ipRange
	total    uint64
	used     []uint64 // bitmap; nil for a pool above bitmapMost
	next     uint64   // where the search goes on, so that released addresses rest a while
	loaded   bool
	releases uint64
	fullTill time.Time
}

func parseRanges(rs []Range) []ipRange {
	var out []ipRange
	var base uint64
	for _, r := range rs {
		a, err1 := netip.ParseAddr(r.Start)
		b, err2 := netip.ParseAddr(r.End)
		if err1 != nil || err2 != nil { // checked when the subnet was made
			continue
		}
		x := ipRange{start: a, end: b, base: base}
		base += x.size()
		out = append(out, x)
	}
	return out
}

// of gives the pool of a subnet; a changed list of ranges starts it anew.
func (p *pools) of(sub *Subnet, random bool) *pool {
	ranges := parseRanges(sub.Pools.V)
	p.mu.Lock()
	defer p.mu.Unlock()
	if x, ok := p.m[sub.ID]; ok && slices.Equal(x.ranges, ranges) {
		return x
	}
	x := &pool{ranges: ranges}
	for _, r := range ranges {
		if x.total += r.size(); x.total > 1<<62 {
			x.total = 1 << 62
		}
	}
	if x.total <= bitmapMost {
		x.used = make([]uint64, (x.total+63)/64)
		if random && x.total > 0 {
			x.next = rand.Uint64N(x.total)
		}
	}
	if p.m == nil {
		p.m = map[string]*pool{}
	}
	p.m[sub.ID] = x
	return x
}

// freed notes a committed release, or a taking that was taken back.
func (p *pools) freed(subnetID string, a netip.Addr) {
	p.mu.Lock()
	x := p.m[subnetID]
	p.mu.Unlock()
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.releases++
	x.fullTill = time.Time{}
	if i, ok := x.index(a); ok && x.used != nil {
		x.used[i/64] &^= 1 << (i % 64)
	}
}

func (p *pools) forget(subnetID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.m, subnetID)
}

func (x *pool) index(a netip.Addr) (uint64, bool) {
	for _, r := range x.ranges {
		if r.contains(a) {
			return r.base + distance(r.start, a), true
		}
	}
	return 0, false
}

func (x *pool) at(i uint64) netip.Addr {
	for _, r := range x.ranges {
		if i < r.base+r.size() {
			return plus(r.start, i-r.base)
		}
	}
	return netip.Addr{}
}

// choose marks and gives the next address that looks free.
func (x *pool) choose() (netip.Addr, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	words := uint64(len(x.used))
	if words == 0 {
		return netip.Addr{}, false
	}
	start := x.next % (words * 64)
	for n := uint64(0); n <= words; n++ {
		w := (start/64 + n) % words
		free := ^x.used[w]
		if n == 0 {
			free &= ^uint64(0) << (start % 64)
		}
		for free != 0 {
			i := w*64 + uint64(bits.TrailingZeros64(free))
			if i >= x.total {
				break
			}
			x.used[w] |= 1 << (i % 64)
			x.next = i + 1
			return x.at(i), true
		}
	}
	return netip.Addr{}, false
}

// refill reads the truth. It says whether anything is free.
func (x *pool) refill(ctx context.Context, tx *db.Tx, subnetID string, clock func() time.Time) (bool, error) {
	began := clock()
	x.mu.Lock()
	if began.Before(x.fullTill) {
		x.mu.Unlock()
		return false, nil
	}
	releases := x.releases
	x.mu.Unlock()
	var taken []string
	if err := tx.Select(ctx, &taken, `SELECT address FROM ip_allocations WHERE subnet_id = ?`, subnetID); err != nil {
		return false, err
	}
	used := make([]uint64, len(x.used))
	inside := uint64(0)
	for _, t := range taken {
		if a, err := netip.ParseAddr(t); err == nil {
			if i, ok := x.index(a); ok {
				used[i/64] |= 1 << (i % 64)
				inside++
			}
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.used, x.loaded = used, true
	if inside >= x.total && x.releases == releases {
		done := clock()
		x.fullTill = done.Add(max(fullRecheck, 4*done.Sub(began))) // a crowd at a full subnet must not keep the database busy
	}
	return inside < x.total, nil
}

func (x *pool) isLoaded() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.loaded
}

func exhausted(networkID string) error {
	return fault.Conflict("No more IP addresses available on network %s.", networkID).WithType("IpAddressGenerationFailure")
}

// insertAddress takes one address for a port; false if somebody has it.
func insertAddress(ctx context.Context, tx *db.Tx, subnetID, address, portID string, position int) (bool, error) {
	n, err := tx.Exec(ctx, `INSERT INTO ip_allocations (subnet_id, address, port_id, position) VALUES (?, ?, ?, ?) ON CONFLICT (subnet_id, address) DO NOTHING`,
		subnetID, address, portID, position)
	if db.IsForeignKey(err) {
		return false, subnetNotFound(subnetID).WithCause(err)
	}
	return n == 1, err
}

// takeAny gives the port some free address of the subnet. The port's row may be inserted before or after only where foreign keys allow: before.
func (s *Service) takeAny(ctx context.Context, tx *db.Tx, sub *Subnet, portID string, position int) (netip.Addr, error) {
	x := s.pools.of(sub, s.db.Shared())
	if x.used == nil {
		return s.takeSparse(ctx, tx, sub, x, portID, position)
	}
	if !x.isLoaded() {
		if _, err := x.refill(ctx, tx, sub.ID, s.clock.Now); err != nil {
			return netip.Addr{}, err
		}
	}
	for refilled := false; ; {
		a, ok := x.choose()
		if !ok {
			if refilled {
				return netip.Addr{}, exhausted(sub.NetworkID)
			}
			free, err := x.refill(ctx, tx, sub.ID, s.clock.Now)
			if err != nil {
				return netip.Addr{}, err
			}
			if !free {
				return netip.Addr{}, exhausted(sub.NetworkID)
			}
			refilled = true
			continue
		}
		if a.String() == sub.Gateway { // a gateway may lie in a pool made before it; it is nobody's to take
			continue
		}
		got, err := insertAddress(ctx, tx, sub.ID, a.String(), portID, position)
		if err != nil {
			return netip.Addr{}, err
		}
		if got {
			tx.OnRollback(func() { s.pools.freed(sub.ID, a) })
			return a, nil
		}
	}
}

// takeSparse chooses at random; should that fail often, by walking over what is taken.
func (s *Service) takeSparse(ctx context.Context, tx *db.Tx, sub *Subnet, x *pool, portID string, position int) (netip.Addr, error) {
	if x.total == 0 {
		return netip.Addr{}, exhausted(sub.NetworkID)
	}
	for range 32 {
		a := x.at(rand.Uint64N(x.total))
		if a.String() == sub.Gateway {
			continue
		}
		if got, err := insertAddress(ctx, tx, sub.ID, a.String(), portID, position); got || err != nil {
			return a, err
		}
	}
	var taken []string
	if err := tx.Select(ctx, &taken, `SELECT address FROM ip_allocations WHERE subnet_id = ?`, sub.ID); err != nil {
		return netip.Addr{}, err
	}
	have := make(map[string]bool, len(taken)+1)
	for _, t := range taken {
		have[t] = true
	}
	have[sub.Gateway] = true
	for i := range x.total {
		a := x.at(i)
		if have[a.String()] {
			continue
		}
		if got, err := insertAddress(ctx, tx, sub.ID, a.String(), portID, position); got || err != nil {
			return a, err
		}
	}
	return netip.Addr{}, exhausted(sub.NetworkID)
}

// takeOne gives the port exactly this address.
func (s *Service) takeOne(ctx context.Context, tx *db.Tx, sub *Subnet, a netip.Addr, portID string, position int) error {
	got, err := insertAddress(ctx, tx, sub.ID, a.String(), portID, position)
	if err != nil {
		return err
	}
	if !got {
		return fault.Conflict("IP address %s already allocated in subnet %s", a, sub.ID).WithType("IpAddressAlreadyAllocated")
	}
	return nil // the free map does not know: the next choice of this address inserts nothing and goes on
}

type taken struct {
	SubnetID string `db:"subnet_id"`
	Address  string `db:"address"`
}

// releaseAddresses deletes addresses of ports and, after the commit, frees them in the maps.
func (s *Service) releaseAddresses(ctx context.Context, tx *db.Tx, portIDs ...string) error {
	var gone []taken
	if err := tx.Select(ctx, &gone, `DELETE FROM ip_allocations WHERE port_id IN (?) RETURNING subnet_id, address`, portIDs); err != nil {
		return err
	}
	s.freedOnCommit(tx, gone)
	return nil
}

func (s *Service) freedOnCommit(tx *db.Tx, gone []taken) {
	tx.OnCommit(func() {
		for _, g := range gone {
			if a, err := netip.ParseAddr(g.Address); err == nil {
				s.pools.freed(g.SubnetID, a)
			}
		}
	})
}
