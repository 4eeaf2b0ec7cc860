package metadef

import (
	"embed"
	"io/fs"

	"nephos/internal/db"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are this room's tables.
func Migrations() db.Migrations {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the path is embedded above
	}
	return db.Migrations{Room: "metadef", FS: sub}
}

type namespaceRow struct {
	ID          string  `db:"id"`
	Name        string  `db:"name"`
	DisplayName string  `db:"display_name"`
	Description string  `db:"description"`
	Visibility  string  `db:"visibility"`
	Protected   bool    `db:"protected"`
	Owner       string  `db:"owner"`
	Created     db.Time `db:"created_at"`
	Updated     db.Time `db:"updated_at"`
}

func (r namespaceRow) namespace() Namespace {
	return Namespace{r.ID, r.Name, r.DisplayName, r.Description, r.Visibility, r.Protected, r.Owner, r.Created.Time, r.Updated.Time}
}

func rowOf(n Namespace) namespaceRow {
	return namespaceRow{n.id, n.Name, n.DisplayName, n.Description, n.Visibility, n.Protected, n.Owner, db.At(n.CreatedAt), db.At(n.UpdatedAt)}
}

type itemRow struct {
	Namespace string  `db:"namespace_id"`
	Kind      string  `db:"kind"`
	Name      string  `db:"name"`
	Body      string  `db:"body"`
	Created   db.Time `db:"created_at"`
	Updated   db.Time `db:"updated_at"`
}

type typeRow struct {
	Name    string  `db:"name"`
	Created db.Time `db:"created_at"`
	Updated db.Time `db:"updated_at"`
}

type associationRow struct {
	Namespace string  `db:"namespace_id"`
	Name      string  `db:"name"`
	Prefix    string  `db:"prefix"`
	Target    string  `db:"properties_target"`
	Created   db.Time `db:"created_at"`
	Updated   db.Time `db:"updated_at"`
}
