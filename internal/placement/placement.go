package placement

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are this room's tables.
func Migrations() db.Migrations {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the path is embedded above
	}
	return db.Migrations{Room: "placement", FS: sub}
}

// The resource classes that every compute host has.
const (
	VCPU     = "VCPU"
	MemoryMB = "MEMORY_MB"
	DiskGB   = "DISK_GB"
)

// Provider is one resource provider. Generation grows with every change of it.
type Provider struct {
	ID         string  `db:"id"`
	Name       string  `db:"name"`
	ParentID   string  `db:"parent_id"`
	RootID     string  `db:"root_id"`
	Generation int64   `db:"generation"`
	Created    db.Time `db:"created_at"`
	Updated    db.Time `db:"updated_at"`
}

// Inventory is what a provider has of one class. Capacity = floor((Total - Reserved) × Ratio), kept as a column so that a claim is one comparison.
type Inventory struct {
	ProviderID string  `db:"provider_id"`
	Class      string  `db:"class"`
	Total      int64   `db:"total"`
	Reserved   int64   `db:"reserved"`
	MinUnit    int64   `db:"min_unit"`
	MaxUnit    int64   `db:"max_unit"`
	StepSize   int64   `db:"step_size"`
	Ratio      float64 `db:"ratio"`
	Capacity   int64   `db:"capacity"`
	Used       int64   `db:"used"`
	// What the provider's owner said last (SyncInventories); -1: it has none.
	OwnerRatio    float64 `db:"owner_ratio"`
	OwnerReserved int64   `db:"owner_reserved"`
	OwnerTotal    int64   `db:"owner_total"`
}

// Consumer is who takes: a server.
type Consumer struct {
	ID         string `db:"id"`
	ProjectID  string `db:"project_id"`
	UserID     string `db:"user_id"`
	Type       string `db:"consumer_type"`
	Generation int64  `db:"generation"`
}

// Allocation is what a consumer takes of one provider and class.
type Allocation struct {
	ConsumerID string `db:"consumer_id"`
	ProviderID string `db:"provider_id"`
	Class      string `db:"class"`
	Used       int64  `db:"used"`
}

// Claim takes resources (amounts by class; zero amounts are left out) of one provider for a consumer that has none yet, in the caller's transaction.
// fault.KindNoCapacity names the class that does not fit; then tx is as it was, and another provider may be tried in it. After any other error nothing of tx may be kept.
func Claim(ctx context.Context, tx *db.Tx, c Consumer, providerID string, resources map[string]int64) error {
	if c.Type == "" {
		c.Type = "INSTANCE"
	}
	if err := ensureConsumer(ctx, tx, c); err != nil {
		return err
	}
	var q strings.Builder
	q.WriteString(`INSERT INTO allocations (consumer_id, provider_id, class, used) VALUES `)
	var args []any
	for class, n := range sorted(resources) {
		if n == 0 {
			continue
		}
		hit, err := tx.Exec(ctx, `UPDATE inventories SET used = used + ? WHERE provider_id = ? AND class = ? AND used + ? <= capacity AND ? <= max_unit`, n, providerID, class, n, n)
		if err != nil {
			return err
		}
		if hit == 0 {
			if err := unclaim(ctx, tx, c.ID, args); err != nil {
				return err
			}
			return fault.NoCapacity("provider %s has no room for %d %s", providerID, n, class)
		}
		if len(args) > 0 {
			q.WriteString(", ")
		}
		q.WriteString("(?, ?, ?, ?)")
		args = append(args, c.ID, providerID, class, n)
	}
	if len(args) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, q.String(), args...); err != nil {
		if db.IsUnique(err) {
			return fault.Conflict("consumer %s already has allocations", c.ID)
		}
		return err
	}
	return nil
}

// unclaim takes back what a claim has taken before it met the class that does not fit. taken are the rows that would have become its allocations.
func unclaim(ctx context.Context, tx *db.Tx, consumerID string, taken []any) error {
	for row := range slices.Chunk(taken, 4) {
		if _, err := tx.Exec(ctx, `UPDATE inventories SET used = used - ? WHERE provider_id = ? AND class = ?`, row[3], row[1], row[2]); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `DELETE FROM consumers WHERE id = ? AND NOT EXISTS (SELECT 1 FROM allocations WHERE consumer_id = ?)`, consumerID, consumerID)
	return err
}

// ensureConsumer makes the consumer's row or moves its generation, and so locks it. Almost always it is new, and for a plain insert SQLite need not prepare to take a statement
// back; on PostgreSQL another transaction may make or remove it between the two.
func ensureConsumer(ctx context.Context, tx *db.Tx, c Consumer) error {
	for {
		n, err := tx.Exec(ctx, `INSERT INTO consumers (id, project_id, user_id, consumer_type, generation) VALUES (?, ?, ?, ?, 1) ON CONFLICT (id) DO NOTHING`, c.ID, c.ProjectID, c.UserID, c.Type)
		if err == nil && n == 0 {
			n, err = tx.Exec(ctx, `UPDATE consumers SET generation = generation + 1 WHERE id = ?`, c.ID)
		}
		if err != nil || n == 1 {
			return err
		}
	}
}

// sorted goes through a map in the order of its keys: rows are always locked in the same order.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// Release gives back everything a consumer has; no error when it has nothing.
func Release(ctx context.Context, tx *db.Tx, consumerID string) error {
	// The consumer's row first, as Claim does: two changes of one consumer wait for each other, and neither misses the other's rows.
	n, err := tx.Exec(ctx, `UPDATE consumers SET generation = generation + 1 WHERE id = ?`, consumerID)
	if err != nil || n == 0 {
		return err
	}
	if err := giveBack(ctx, tx, consumerID); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `DELETE FROM consumers WHERE id = ?`, consumerID)
	return err
}

// giveBack empties a consumer whose row the transaction holds.
func giveBack(ctx context.Context, tx *db.Tx, consumerID string) error {
	held, err := AllocationsOf(ctx, tx, consumerID)
	if err != nil || len(held) == 0 {
		return err
	}
	for _, a := range held {
		if _, err := tx.Exec(ctx, `UPDATE inventories SET used = used - ? WHERE provider_id = ? AND class = ?`, a.Used, a.ProviderID, a.Class); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `DELETE FROM allocations WHERE consumer_id = ?`, consumerID)
	return err
}

// AllocationsOf lists what a consumer takes, by provider and class.
func AllocationsOf(ctx context.Context, tx *db.Tx, consumerID string) ([]Allocation, error) {
	var out []Allocation
	err := tx.Select(ctx, &out, `SELECT * FROM allocations WHERE consumer_id = ? ORDER BY provider_id, class`, consumerID)
	return out, err
}

// EnsureProvider makes the provider of a host, or finds it.
func EnsureProvider(ctx context.Context, tx *db.Tx, id, name string) error {
	now := db.Now()
	_, err := tx.Exec(ctx, `INSERT INTO resource_providers (id, name, root_id, generation, created_at, updated_at) VALUES (?, ?, ?, 0, ?, ?) ON CONFLICT (id) DO NOTHING`, id, name, id, now, now)
	if db.IsUnique(err) {
		return fault.Conflict("a resource provider named %s exists already", name)
	}
	return err
}

// SetInventory sets what a provider has of the classes given; what is used stays used, also where it is more than the new capacity. The generation
// grows only when something changed.
func SetInventory(ctx context.Context, tx *db.Tx, providerID string, invs ...Inventory) error {
	changed, err := putInventories(ctx, tx, providerID, invs)
	if err != nil || changed == 0 {
		return err
	}
	return Advance(ctx, tx, providerID, -1)
}

// putInventories writes the rows and says how many are not as they were.
func putInventories(ctx context.Context, tx *db.Tx, providerID string, invs []Inventory) (changed int64, err error) {
	for _, i := range invs {
		capacity := int64(float64(i.Total-i.Reserved) * i.Ratio)
		if i.MaxUnit == 0 {
			i.MaxUnit = i.Total
		}
		n, err := tx.Exec(ctx, `INSERT INTO inventories (provider_id, class, total, reserved, min_unit, max_unit, step_size, ratio, capacity, used) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
			ON CONFLICT (provider_id, class) DO UPDATE SET total = excluded.total, reserved = excluded.reserved, min_unit = excluded.min_unit, max_unit = excluded.max_unit,
			step_size = excluded.step_size, ratio = excluded.ratio, capacity = excluded.capacity
			WHERE inventories.total <> excluded.total OR inventories.reserved <> excluded.reserved OR inventories.min_unit <> excluded.min_unit
			OR inventories.max_unit <> excluded.max_unit OR inventories.step_size <> excluded.step_size OR inventories.ratio <> excluded.ratio`,
			providerID, i.Class, i.Total, i.Reserved, max(1, i.MinUnit), i.MaxUnit, max(1, i.StepSize), i.Ratio, capacity)
		if err != nil {
			return changed, err
		}
		changed += n
	}
	return changed, nil
}

// Inventories lists all inventories, or those of one provider.
func Inventories(ctx context.Context, tx *db.Tx, providerID string) ([]Inventory, error) {
	var out []Inventory
	if providerID == "" {
		return out, tx.Select(ctx, &out, `SELECT * FROM inventories ORDER BY provider_id, class`)
	}
	return out, tx.Select(ctx, &out, `SELECT * FROM inventories WHERE provider_id = ? ORDER BY class`, providerID)
}

// GetProvider finds a provider by id; fault.KindNotFound otherwise.
func GetProvider(ctx context.Context, tx *db.Tx, id string) (Provider, error) {
	var p Provider
	err := tx.Get(ctx, &p, `SELECT * FROM resource_providers WHERE id = ?`, id)
	if errors.Is(err, db.ErrNoRows) {
		return p, fault.NotFound("No resource provider with uuid %s found", id).WithType(CodeNoProvider)
	}
	return p, err
}

// Providers lists all providers by name.
func Providers(ctx context.Context, tx *db.Tx) ([]Provider, error) {
	var out []Provider
	return out, tx.Select(ctx, &out, `SELECT * FROM resource_providers ORDER BY name`)
}

// Consumers lists the ids of all consumers, for fsck.
func Consumers(ctx context.Context, tx *db.Tx) ([]string, error) {
	var out []string
	return out, tx.Select(ctx, &out, `SELECT id FROM consumers ORDER BY id`)
}

// Check gives a sentence for each inventory whose use is not the sum of its allocations.
func Check(ctx context.Context, tx *db.Tx) ([]string, error) {
	var rows []struct {
		Provider string `db:"provider_id"`
		Class    string `db:"class"`
		Used     int64  `db:"used"`
		Sum      int64  `db:"total_used"`
	}
	err := tx.Select(ctx, &rows, `SELECT i.provider_id, i.class, i.used, CAST(COALESCE(SUM(a.used), 0) AS BIGINT) AS total_used FROM inventories i
		LEFT JOIN allocations a ON a.provider_id = i.provider_id AND a.class = i.class GROUP BY i.provider_id, i.class, i.used
		HAVING i.used <> COALESCE(SUM(a.used), 0) ORDER BY i.provider_id, i.class`)
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("placement: provider %s shows %d %s used, its allocations sum to %d", r.Provider, r.Used, r.Class, r.Sum))
	}
	return out, err
}
