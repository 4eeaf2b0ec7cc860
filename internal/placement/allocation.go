package placement

import (
	"context"
	"errors"
	"slices"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// UnknownType is the type of a consumer that nobody told one for (Placement before 1.38 did not ask). It is not of the form that types have.
const UnknownType = "unknown"

// Demand is all that a consumer shall have: amounts by provider and class. None gives everything back.
type Demand struct {
	Consumer
	Resources map[string]map[string]int64
	// Checked says that Generation is compared (microversion 1.28): nil means that the consumer must be new.
	Checked  bool
	Expected *int64
}

// SetAllocations makes several consumers have exactly what is demanded, all or none, in the caller's transaction. What they had before is given back
// first, so that resources can change hands. fault.KindInvalid: unknown provider or class; fault.KindConflict: generation; fault.KindNoCapacity: it does
// not fit.
func SetAllocations(ctx context.Context, tx *db.Tx, demands []Demand) error {
	return exchange(ctx, tx, demands, func() error { return nil })
}

// Shape is all the inventories that a provider shall have. Generation is what it must be at.
type Shape struct {
	ProviderID  string
	Generation  int64
	Inventories []Inventory
}

// Reshape changes inventories of several providers and allocations of several consumers together, all or none: what consumers have moves with the inventories
// that they have it of. A class that somebody else takes of cannot go.
func Reshape(ctx context.Context, tx *db.Tx, shapes []Shape, demands []Demand) error {
	slices.SortFunc(shapes, func(a, b Shape) int { return strings.Compare(a.ProviderID, b.ProviderID) })
	return exchange(ctx, tx, demands, func() error {
		for _, s := range shapes {
			err := ReplaceInventories(ctx, tx, s.ProviderID, s.Generation, s.Inventories)
			if fault.IsNotFound(err) {
				return fault.Invalid("inventories", "Resource provider %s in inventories not found.", s.ProviderID)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// exchange takes from all consumers what they have, runs between, and gives them what they shall have.
func exchange(ctx context.Context, tx *db.Tx, demands []Demand, between func() error) error {
	demands = slices.SortedFunc(slices.Values(demands), func(a, b Demand) int { return strings.Compare(a.ID, b.ID) })
	for _, d := range demands {
		if err := holdConsumer(ctx, tx, d); err != nil {
			return err
		}
		if err := giveBack(ctx, tx, d.ID); err != nil {
			return err
		}
	}
	if err := between(); err != nil {
		return err
	}
	for _, d := range demands {
		empty := true
		for provider, resources := range sorted(d.Resources) {
			for class, n := range sorted(resources) {
				if err := take(ctx, tx, Allocation{ConsumerID: d.ID, ProviderID: provider, Class: class, Used: n}); err != nil {
					return err
				}
				empty = false
			}
		}
		if empty {
			if _, err := tx.Exec(ctx, `DELETE FROM consumers WHERE id = ?`, d.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdConsumer makes or updates the consumer's row, which the transaction then holds.
func holdConsumer(ctx context.Context, tx *db.Tx, d Demand) error {
	const insert = `INSERT INTO consumers (id, project_id, user_id, consumer_type, generation) VALUES (?, ?, ?, ?, 1) ON CONFLICT (id) DO `
	told := d.Type
	if told == "" {
		d.Type = UnknownType
	}
	var n int64
	var err error
	switch {
	case !d.Checked:
		_, err = tx.Exec(ctx, insert+`UPDATE SET generation = consumers.generation + 1, project_id = excluded.project_id, user_id = excluded.user_id`, d.ID, d.ProjectID, d.UserID, d.Type)
		return err
	case d.Expected == nil:
		n, err = tx.Exec(ctx, insert+`NOTHING`, d.ID, d.ProjectID, d.UserID, d.Type)
	default:
		n, err = tx.Exec(ctx, `UPDATE consumers SET generation = generation + 1, project_id = ?, user_id = ?, consumer_type = CASE WHEN ? = '' THEN consumer_type ELSE ? END WHERE id = ? AND generation = ?`,
			d.ProjectID, d.UserID, told, told, d.ID, *d.Expected)
	}
	if err == nil && n == 0 {
		return fault.Conflict("consumer generation conflict: consumer %s is not at the generation given", d.ID).WithType(CodeConcurrentUpdate)
	}
	return err
}

// take is one conditional UPDATE and the row that says who has it.
func take(ctx context.Context, tx *db.Tx, a Allocation) error {
	n, err := tx.Exec(ctx, `UPDATE inventories SET used = used + ? WHERE provider_id = ? AND class = ? AND `+fitting, a.Used, a.ProviderID, a.Class, a.Used, a.Used, a.Used, a.Used)
	if err != nil {
		return err
	}
	if n == 0 {
		return whyNot(ctx, tx, a)
	}
	return tx.Insert(ctx, "allocations", a)
}

// whyNot says why an allocation was refused.
func whyNot(ctx context.Context, tx *db.Tx, a Allocation) error {
	if _, err := GetProvider(ctx, tx, a.ProviderID); err != nil {
		if fault.IsNotFound(err) {
			return fault.Invalid("allocations", "Allocation for resource provider '%s' that does not exist.", a.ProviderID)
		}
		return err
	}
	missing, err := Classes.Unknown(ctx, tx, []string{a.Class})
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fault.Invalid("resources", "No such resource class %s.", a.Class)
	}
	i, err := GetInventory(ctx, tx, a.ProviderID, a.Class)
	switch {
	case fault.IsNotFound(err):
		return fault.NoCapacity("Unable to allocate inventory: resource provider %s has no inventory of %s.", a.ProviderID, a.Class)
	case err != nil:
		return err
	case a.Used < i.MinUnit || a.Used > i.MaxUnit || a.Used%i.StepSize != 0:
		return fault.NoCapacity("Unable to allocate inventory: %d %s of %s is not within min_unit %d, max_unit %d and step_size %d.", a.Used, a.Class, a.ProviderID, i.MinUnit, i.MaxUnit, i.StepSize)
	}
	return fault.NoCapacity("Unable to allocate inventory: %s of %s has a capacity of %d, %d of it used; %d more does not fit.", a.Class, a.ProviderID, i.Capacity, i.Used, a.Used)
}

// GetConsumer finds a consumer; fault.KindNotFound otherwise.
func GetConsumer(ctx context.Context, tx *db.Tx, id string) (Consumer, error) {
	var c Consumer
	err := tx.Get(ctx, &c, `SELECT * FROM consumers WHERE id = ?`, id)
	if errors.Is(err, db.ErrNoRows) {
		return c, fault.NotFound("No allocations for consumer '%s'", id)
	}
	return c, err
}

// OwnedAllocation is an allocation with its consumer.
type OwnedAllocation struct {
	Allocation
	Generation int64 `db:"generation"`
}

// AllocationsOn lists what is taken of a provider, by consumer and class.
func AllocationsOn(ctx context.Context, tx *db.Tx, providerID string) ([]OwnedAllocation, error) {
	var out []OwnedAllocation
	return out, tx.Select(ctx, &out, `SELECT a.*, c.generation FROM allocations a JOIN consumers c ON c.id = a.consumer_id WHERE a.provider_id = ? ORDER BY a.consumer_id, a.class`, providerID)
}

// Usage is what the consumers of one type take of one class, and how many consumers of that type there are.
type Usage struct {
	Type      string `db:"consumer_type"`
	Class     string `db:"class"`
	Used      int64  `db:"used"`
	Consumers int64  `db:"consumers"`
}

// UsageOf sums what a project takes, or one of its users.
func UsageOf(ctx context.Context, tx *db.Tx, projectID, userID string) ([]Usage, error) {
	var out []Usage
	err := tx.Select(ctx, &out, `SELECT c.consumer_type, a.class, CAST(SUM(a.used) AS BIGINT) AS used,
		(SELECT COUNT(*) FROM consumers x WHERE x.project_id = ? AND (x.user_id = ? OR ? = '') AND x.consumer_type = c.consumer_type) AS consumers
		FROM allocations a JOIN consumers c ON c.id = a.consumer_id WHERE c.project_id = ? AND (c.user_id = ? OR ? = '')
		GROUP BY c.consumer_type, a.class ORDER BY c.consumer_type, a.class`, projectID, userID, userID, projectID, userID, userID)
	return out, err
}

// Transfer hands all that one consumer has to another that has nothing; no error when the first has nothing. The inventories do not change.
func Transfer(ctx context.Context, tx *db.Tx, from string, to Consumer) error {
	if to.Type == "" {
		to.Type = "INSTANCE"
	}
	n, err := tx.Exec(ctx, `UPDATE consumers SET generation = generation + 1 WHERE id = ?`, from) // holds the row, as Release does
	if err != nil || n == 0 {
		return err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO consumers (id, project_id, user_id, consumer_type, generation) VALUES (?, ?, ?, ?, 1)
		ON CONFLICT (id) DO UPDATE SET generation = consumers.generation + 1`, to.ID, to.ProjectID, to.UserID, to.Type); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE allocations SET consumer_id = ? WHERE consumer_id = ?`, to.ID, from); err != nil {
		if db.IsUnique(err) {
			return fault.Conflict("consumer %s already has allocations", to.ID)
		}
		return err
	}
	_, err = tx.Exec(ctx, `DELETE FROM consumers WHERE id = ?`, from)
	return err
}
