package network

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"

	"nephos/internal/db"
	"nephos/internal/fault"
)

const clockShards = 8

// tick moves the clock; every transaction that changes what some host must look like calls it. On SQLite there is one writer, so one shard does.
func tick(ctx context.Context, tx *db.Tx) error {
	shard := 0
	if tx.Dialect == db.Postgres {
		shard = rand.IntN(clockShards)
	}
	_, err := tx.Exec(ctx, `UPDATE network_clock SET value = value + 1 WHERE shard = ?`, shard)
	return err
}

// topologyShard is the row of the clock that moves with networks, subnets, groups and rules only. It is one row on PostgreSQL too, so that its value names one state
// of them: transactions that change them, which are rare, wait for one another, and take it after quota and before the other shards.
const topologyShard = -1

// now reads the clock in the transaction's snapshot.
func now(ctx context.Context, tx *db.Tx) (int64, error) {
	c, err := clocks(ctx, tx)
	return c.Revision, err
}

// clock is both readings of network_clock.
type clock struct {
	Revision int64 `db:"revision"` // moves with every change
	Topology int64 `db:"topology"`
}

func clocks(ctx context.Context, tx *db.Tx) (c clock, err error) {
	err = tx.Get(ctx, &c, `SELECT CAST(SUM(value) AS BIGINT) AS revision, CAST(SUM(CASE WHEN shard = -1 THEN value ELSE 0 END) AS BIGINT) AS topology FROM network_clock`)
	return c, err
}

// row is what save needs of a resource row.
type row interface {
	table() string
	key() string
	standard() *Standard
}

func (n *Network) table() string             { return "networks" }
func (n *Network) key() string               { return n.ID }
func (n *Network) standard() *Standard       { return &n.Standard }
func (n *Subnet) table() string              { return "subnets" }
func (n *Subnet) key() string                { return n.ID }
func (n *Subnet) standard() *Standard        { return &n.Standard }
func (n *Port) table() string                { return "ports" }
func (n *Port) key() string                  { return n.ID }
func (n *Port) standard() *Standard          { return &n.Standard }
func (n *SecurityGroup) table() string       { return "security_groups" }
func (n *SecurityGroup) key() string         { return n.ID }
func (n *SecurityGroup) standard() *Standard { return &n.Standard }
func (n *Router) table() string              { return "routers" }
func (n *Router) key() string                { return n.ID }
func (n *Router) standard() *Standard        { return &n.Standard }
func (n *FloatingIP) table() string          { return "floating_ips" }
func (n *FloatingIP) key() string            { return n.ID }
func (n *FloatingIP) standard() *Standard    { return &n.Standard }

var saveTexts sync.Map // reflect.Type → text

// save writes all columns of a row back if nobody has changed it since it was read, and counts its revision up; else errStale.
func (s *Service) save(ctx context.Context, tx *db.Tx, r row) error {
	st := r.standard()
	st.RevisionNumber++
	st.Updated = db.At(s.clock.Now())
	rt := reflect.TypeOf(r).Elem()
	text, ok := saveTexts.Load(rt)
	if !ok {
		var sets []string
		for _, c := range columns(rt) {
			if c != "id" && c != "created_at" {
				sets = append(sets, c+" = :"+c)
			}
		}
		text = "UPDATE " + r.table() + " SET " + strings.Join(sets, ", ") + " WHERE id = :id AND revision_number = :revision_number - 1"
		saveTexts.Store(rt, text)
	}
	n, err := tx.NamedExec(ctx, text.(string), r)
	if err == nil && n == 0 {
		err = errStale
	}
	return err
}

// columns lists the `db` tags of a row type, of embedded structs too.
func columns(rt reflect.Type) []string {
	var out []string
	for i := range rt.NumField() {
		f := rt.Field(i)
		switch tag := f.Tag.Get("db"); {
		case tag == "-":
		case tag != "":
			out = append(out, tag)
		case f.Anonymous:
			out = append(out, columns(f.Type)...)
		}
	}
	return out
}

// byID reads one row; missing is the fault when there is none.
func byID[T any](ctx context.Context, tx *db.Tx, table, id string, missing func(string) *fault.Fault) (*T, error) {
	var v T
	err := tx.Get(ctx, &v, "SELECT * FROM "+table+" WHERE id = ?", id)
	if errors.Is(err, db.ErrNoRows) {
		return nil, missing(id)
	}
	if err != nil {
		return nil, err
	}
	return &v, nil
}

func networkNotFound(id string) *fault.Fault {
	return fault.NotFound("Network %s could not be found.", id).WithType("NetworkNotFound")
}

func subnetNotFound(id string) *fault.Fault {
	return fault.NotFound("Subnet %s could not be found.", id).WithType("SubnetNotFound")
}

func portNotFound(id string) *fault.Fault {
	return fault.NotFound("Port %s could not be found.", id).WithType("PortNotFound")
}

func groupNotFound(id string) *fault.Fault {
	return fault.NotFound("Security group %s does not exist", id).WithType("SecurityGroupNotFound")
}

func ruleNotFound(id string) *fault.Fault {
	return fault.NotFound("Security group rule %s does not exist", id).WithType("SecurityGroupRuleNotFound")
}

func routerNotFound(id string) *fault.Fault {
	return fault.NotFound("Router %s could not be found", id).WithType("RouterNotFound")
}

func floatingNotFound(id string) *fault.Fault {
	return fault.NotFound("Floating IP %s could not be found", id).WithType("FloatingIPNotFound")
}

func networkByID(ctx context.Context, tx *db.Tx, id string) (*Network, error) {
	return byID[Network](ctx, tx, "networks", id, networkNotFound)
}

func subnetByID(ctx context.Context, tx *db.Tx, id string) (*Subnet, error) {
	return byID[Subnet](ctx, tx, "subnets", id, subnetNotFound)
}

func portRow(ctx context.Context, tx *db.Tx, id string) (*Port, error) {
	return byID[Port](ctx, tx, "ports", id, portNotFound)
}

func subnetsOf(ctx context.Context, tx *db.Tx, networkIDs ...string) ([]Subnet, error) {
	var out []Subnet
	if len(networkIDs) == 0 {
		return nil, nil
	}
	err := tx.Select(ctx, &out, `SELECT * FROM subnets WHERE network_id IN (?) ORDER BY created_at, id`, networkIDs)
	return out, err
}

// hostsOnNetwork are the hosts that have any port of the network.
func hostsOnNetwork(ctx context.Context, tx *db.Tx, networkID string) ([]string, error) {
	var out []string
	err := tx.Select(ctx, &out, `SELECT DISTINCT host FROM ports WHERE network_id = ? AND host <> ''`, networkID)
	return out, err
}

// hostsOfGroups are the hosts with a port in one of the groups, or in a group with a rule about one of them.
func hostsOfGroups(ctx context.Context, tx *db.Tx, groupIDs []string) ([]string, error) {
	if len(groupIDs) == 0 {
		return nil, nil
	}
	var out []string
	err := tx.Select(ctx, &out, `SELECT DISTINCT p.host FROM ports p JOIN port_security_groups g ON g.port_id = p.id
		WHERE p.host <> '' AND (g.group_id IN (?) OR g.group_id IN (SELECT group_id FROM security_group_rules WHERE remote_group IN (?)))`, groupIDs, groupIDs)
	return out, err
}

// filter builds a WHERE from the conditions that lists are narrowed by in SQL; the rest is done on the views.
type filter struct {
	where []string
	args  []any
}

func (f *filter) in(column string, values []string) {
	if len(values) > 0 {
		f.where = append(f.where, column+" IN (?)")
		f.args = append(f.args, values)
	}
}

func (f *filter) cond(text string, args ...any) {
	f.where = append(f.where, "("+text+")")
	f.args = append(f.args, args...)
}

func (f *filter) sql(table string) string {
	q := "SELECT * FROM " + table
	if len(f.where) > 0 {
		q += " WHERE " + strings.Join(f.where, " AND ")
	}
	return q + " ORDER BY created_at, id"
}

func selectAll[T any](ctx context.Context, tx *db.Tx, table string, f *filter) ([]T, error) {
	var out []T
	err := tx.Select(ctx, &out, f.sql(table), f.args...)
	return out, err
}
