package image

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/google/uuid"

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
	return db.Migrations{Room: "image", FS: sub}
}

// row is a line of the table images.
type row struct {
	ID              string     `db:"id"`
	Name            string     `db:"name"`
	Owner           string     `db:"owner"`
	Status          Status     `db:"status"`
	Visibility      Visibility `db:"visibility"`
	DiskFormat      string     `db:"disk_format"`
	ContainerFormat string     `db:"container_format"`
	MinDiskGiB      int64      `db:"min_disk_gib"`
	MinRAMMiB       int64      `db:"min_ram_mib"`
	Protected       bool       `db:"protected"`
	Hidden          bool       `db:"hidden"`
	SizeBytes       int64      `db:"size_bytes"`
	VirtualBytes    int64      `db:"virtual_bytes"`
	MD5             string     `db:"md5"`
	HashAlgo        string     `db:"hash_algo"`
	HashValue       string     `db:"hash_value"`
	UploadID        string     `db:"upload_id"`
	UploadNode      string     `db:"upload_node"`
	Staged          bool       `db:"staged"`
	ImportTask      string     `db:"import_task"`
	Imported        bool       `db:"imported"`
	ImportingTo     string     `db:"importing_to"`
	ImportFailed    string     `db:"import_failed"`
	CreatedAt       db.Time    `db:"created_at"`
	UpdatedAt       db.Time    `db:"updated_at"`
	DeletedAt       db.Time    `db:"deleted_at"`
}

func rowOf(i Image) row {
	return row{ID: i.ID, Name: i.Name, Owner: i.Owner, Status: i.Status, Visibility: i.Visibility, DiskFormat: i.DiskFormat,
		ContainerFormat: i.ContainerFormat, MinDiskGiB: i.MinDiskGiB, MinRAMMiB: i.MinRAMMiB, Protected: i.Protected, Hidden: i.Hidden,
		SizeBytes: i.SizeBytes, VirtualBytes: i.VirtualBytes, MD5: i.MD5, HashAlgo: i.HashAlgo, HashValue: i.HashValue, UploadID: i.uploadID, UploadNode: i.uploadNode,
		Staged: i.staged, ImportTask: i.ImportTask, Imported: i.Imported, ImportingTo: strings.Join(i.ImportingTo, ","),
		ImportFailed: strings.Join(i.ImportFailed, ","), CreatedAt: db.At(i.CreatedAt), UpdatedAt: db.At(i.UpdatedAt)}
}

func (r row) image() Image {
	return Image{ID: r.ID, Name: r.Name, Owner: r.Owner, Status: r.Status, Visibility: r.Visibility, DiskFormat: r.DiskFormat,
		ContainerFormat: r.ContainerFormat, MinDiskGiB: r.MinDiskGiB, MinRAMMiB: r.MinRAMMiB, Protected: r.Protected, Hidden: r.Hidden,
		SizeBytes: r.SizeBytes, VirtualBytes: r.VirtualBytes, MD5: r.MD5, HashAlgo: r.HashAlgo, HashValue: r.HashValue, uploadID: r.UploadID, uploadNode: r.UploadNode,
		staged: r.Staged, ImportTask: r.ImportTask, Imported: r.Imported, ImportingTo: words(r.ImportingTo), ImportFailed: words(r.ImportFailed), CreatedAt: r.CreatedAt.Time, UpdatedAt: r.UpdatedAt.Time, Properties: map[string]string{}}
}

// words splits what Join put together; "" is nothing.
func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

type locationRow struct {
	ImageID  string `db:"image_id"`
	Position int64  `db:"position"`
	Store    string `db:"store"`
	URL      string `db:"url"`
	Metadata string `db:"metadata"`
}

type propertyRow struct {
	ImageID string `db:"image_id"`
	Name    string `db:"name"`
	Value   string `db:"value"`
}

type tagRow struct {
	ImageID string `db:"image_id"`
	Tag     string `db:"tag"`
}

type memberRow struct {
	ImageID   string       `db:"image_id"`
	Member    string       `db:"member"`
	Status    MemberStatus `db:"status"`
	CreatedAt db.Time      `db:"created_at"`
	UpdatedAt db.Time      `db:"updated_at"`
}

// load reads one image that is not deleted. What is no UUID is not looked for: PostgreSQL refuses some texts that a URL can hold.
func load(ctx context.Context, tx *db.Tx, id string) (Image, error) {
	if uuid.Validate(id) != nil {
		return Image{}, notFound(id)
	}
	var r row
	err := tx.Get(ctx, &r, `SELECT * FROM images WHERE id = ? AND status <> 'deleted'`, id)
	if errors.Is(err, db.ErrNoRows) {
		return Image{}, notFound(id)
	}
	if err != nil {
		return Image{}, err
	}
	imgs := []Image{r.image()}
	if err := fillIn(ctx, tx, imgs); err != nil {
		return Image{}, err
	}
	return imgs[0], nil
}

const inMost = 500 // ids per IN list

// fillIn adds tags, properties and members.
func fillIn(ctx context.Context, tx *db.Tx, imgs []Image) error {
	for part := range slices.Chunk(imgs, inMost) {
		at := make(map[string]*Image, len(part))
		ids := make([]string, 0, len(part))
		for i := range part {
			at[part[i].ID] = &part[i]
			ids = append(ids, part[i].ID)
		}
		var props []propertyRow
		if err := tx.Select(ctx, &props, `SELECT * FROM image_properties WHERE image_id IN (?)`, ids); err != nil {
			return err
		}
		for _, p := range props {
			at[p.ImageID].Properties[p.Name] = p.Value
		}
		var tags []tagRow
		if err := tx.Select(ctx, &tags, `SELECT * FROM image_tags WHERE image_id IN (?)`, ids); err != nil {
			return err
		}
		for _, t := range tags {
			at[t.ImageID].Tags = append(at[t.ImageID].Tags, t.Tag)
		}
		var members []memberRow
		if err := tx.Select(ctx, &members, `SELECT * FROM image_members WHERE image_id IN (?) ORDER BY created_at, member`, ids); err != nil {
			return err
		}
		for _, m := range members {
			at[m.ImageID].Members = append(at[m.ImageID].Members, Member{m.ImageID, m.Member, m.Status, m.CreatedAt.Time, m.UpdatedAt.Time})
		}
		var locations []locationRow
		if err := tx.Select(ctx, &locations, `SELECT * FROM image_locations WHERE image_id IN (?) ORDER BY image_id, position`, ids); err != nil {
			return err
		}
		for _, l := range locations {
			at[l.ImageID].Locations = append(at[l.ImageID].Locations, Location{l.Store, l.URL, json.RawMessage(l.Metadata)})
		}
		for _, i := range at {
			slices.Sort(i.Tags)
		}
	}
	return nil
}

func insert(ctx context.Context, tx *db.Tx, i Image) error {
	if err := tx.Insert(ctx, "images", rowOf(i)); err != nil {
		return err
	}
	return insertExtras(ctx, tx, i)
}

func insertExtras(ctx context.Context, tx *db.Tx, i Image) error {
	for name, value := range i.Properties {
		if err := tx.Insert(ctx, "image_properties", propertyRow{i.ID, name, value}); err != nil {
			return err
		}
	}
	for _, t := range i.Tags {
		if err := tx.Insert(ctx, "image_tags", tagRow{i.ID, t}); err != nil {
			return err
		}
	}
	for k, l := range i.Locations {
		meta := string(l.Metadata)
		if meta == "" {
			meta = "{}"
		}
		if err := tx.Insert(ctx, "image_locations", locationRow{i.ID, int64(k), l.Store, l.URL, meta}); err != nil {
			return err
		}
	}
	return nil
}

// save writes an image that was loaded in the same transaction under lock; members have their own statements.
func save(ctx context.Context, tx *db.Tx, i Image) error {
	if _, err := tx.NamedExec(ctx, `UPDATE images SET name = :name, owner = :owner, status = :status, visibility = :visibility,
		disk_format = :disk_format, container_format = :container_format, min_disk_gib = :min_disk_gib, min_ram_mib = :min_ram_mib,
		protected = :protected, hidden = :hidden, size_bytes = :size_bytes, virtual_bytes = :virtual_bytes, md5 = :md5,
		hash_algo = :hash_algo, hash_value = :hash_value, import_task = :import_task, imported = :imported, importing_to = :importing_to, import_failed = :import_failed,
		upload_id = :upload_id, upload_node = :upload_node, staged = :staged, updated_at = :updated_at WHERE id = :id`, rowOf(i)); err != nil {
		return err
	}
	if err := dropExtras(ctx, tx, i.ID); err != nil {
		return err
	}
	return insertExtras(ctx, tx, i)
}

func dropExtras(ctx context.Context, tx *db.Tx, id string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM image_properties WHERE image_id = ?`, id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM image_locations WHERE image_id = ?`, id); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM image_tags WHERE image_id = ?`, id)
	return err
}

// lock serialises the writers of one image where the database does not do it by itself.
func lock(ctx context.Context, tx *db.Tx, id string) error { return tx.Lock(ctx, "image/"+id) }
