package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"nephos/internal/image"
)

// Config says where the bucket is. The bucket must exist.
type Config struct {
	Endpoint  string // http://host:port or https://host
	Bucket    string
	Prefix    string // of all keys
	Region    string // "": us-east-1
	AccessKey string
	SecretKey string
}

const (
	partBytes = 64 << 20 // of a multipart upload: 10,000 of them, the most there may be, make 625 GiB
	copyMost  = 5 << 30  // bytes that one copy may have; above it the copy is made of parts
)

type store struct {
	c              *minio.Client
	bucket, prefix string
	address        string
	part           uint64
}

// New makes a Store. Nothing is asked of the object store yet: one that is down must not keep a cloud from starting.
func New(cfg Config) (image.Store, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("s3: the endpoint %q is not a URL such as https://host:port", cfg.Endpoint)
	}
	region := cfg.Region
	if region == "" {
		region = "us-east-1"
	}
	c, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, ""), Secure: u.Scheme == "https", Region: region, BucketLookup: minio.BucketLookupPath, MaxRetries: 4})
	if err != nil {
		return nil, err
	}
	return &store{c: c, bucket: cfg.Bucket, prefix: cfg.Prefix, address: u.Host, part: partBytes}, nil
}

func (s *store) LocalPath(string) string { return "" }

func (s *store) URL(id string) string {
	return "s3://" + s.address + "/" + s.bucket + "/" + s.prefix + id
}

func (s *store) key(id string) string { return s.prefix + id }

func (s *store) partKey(id, upload string) string { return s.prefix + id + "." + upload + ".part" }

// sent is a part on its way: Write feeds a pipe whose other end one goroutine gives to the object store.
type sent struct {
	w    *io.PipeWriter
	done chan struct{} // closed when the goroutine has ended
	err  error         // of the upload; set before done
	end  context.CancelFunc
	over bool
}

func (s *store) Create(ctx context.Context, id, upload string) (image.Part, error) {
	r, w := io.Pipe()
	ctx, end := context.WithCancel(ctx)
	p := &sent{w: w, done: make(chan struct{}), end: end}
	go func() {
		defer close(p.done)
		// The room sums the bytes itself; signing each chunk besides would only cost, and not every S3 understands it.
		_, p.err = s.c.PutObject(ctx, s.bucket, s.partKey(id, upload), r, -1, minio.PutObjectOptions{ContentType: "application/octet-stream", PartSize: s.part, DisableContentSha256: true})
		r.CloseWithError(errors.Join(p.err, io.ErrClosedPipe)) // a writer that goes on is told
	}()
	return p, nil
}

func (p *sent) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if err != nil {
		return n, full(err)
	}
	return n, nil
}

func (p *sent) Seal() error {
	if p.over {
		return nil
	}
	p.over = true
	p.w.Close() // the end of the object
	<-p.done
	p.end()
	return full(p.err)
}

func (p *sent) Close() error {
	if p.over {
		return nil
	}
	p.over = true
	p.end()
	p.w.CloseWithError(errors.New("given up"))
	<-p.done
	return nil
}

// full names a store without room as the room does.
func full(err error) error {
	if code := minio.ToErrorResponse(err).Code; code == "QuotaExceeded" || code == "XMinioStorageFull" || code == "EntityTooLarge" {
		return fmt.Errorf("%w: %w", image.ErrStoreFull, err)
	}
	return err
}

func absent(err error) bool {
	r := minio.ToErrorResponse(err)
	return r.Code == "NoSuchKey" || r.StatusCode == http.StatusNotFound && r.Code != "NoSuchBucket"
}

// blob adds the size; minio.Object has the rest.
type blob struct {
	*minio.Object
	size int64
	end  context.CancelFunc
}

func (b blob) Size() int64 { return b.size }

func (b blob) Close() error {
	defer b.end()
	return b.Object.Close()
}

func (s *store) open(ctx context.Context, key string) (image.Blob, error) {
	ctx, end := context.WithCancel(ctx)
	o, err := s.c.GetObject(ctx, s.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		end()
		return nil, err
	}
	st, err := o.Stat()
	if err != nil {
		o.Close() //nolint:errcheck // nothing was opened
		end()
		if absent(err) {
			err = image.ErrNoBytes
		}
		return nil, err
	}
	return blob{o, st.Size, end}, nil
}

func (s *store) OpenPart(ctx context.Context, id, upload string) (image.Blob, error) {
	return s.open(ctx, s.partKey(id, upload))
}

func (s *store) Open(ctx context.Context, id string) (image.Blob, error) {
	return s.open(ctx, s.key(id))
}

// Publish copies within the object store and then removes the part. A crash between leaves both; doing it again copies again.
func (s *store) Publish(ctx context.Context, id, upload string) error {
	from, to := s.partKey(id, upload), s.key(id)
	st, err := s.c.StatObject(ctx, s.bucket, from, minio.StatObjectOptions{})
	if err != nil && absent(err) {
		if _, err := s.c.StatObject(ctx, s.bucket, to, minio.StatObjectOptions{}); err == nil {
			return nil
		}
		return fmt.Errorf("publish image %s: %w", id, image.ErrNoBytes)
	}
	if err != nil {
		return err
	}
	dst, src := minio.CopyDestOptions{Bucket: s.bucket, Object: to}, minio.CopySrcOptions{Bucket: s.bucket, Object: from}
	if st.Size < copyMost {
		_, err = s.c.CopyObject(ctx, dst, src)
	} else {
		_, err = s.c.ComposeObject(ctx, dst, src)
	}
	if err != nil {
		return full(err)
	}
	return s.remove(ctx, from)
}

func (s *store) remove(ctx context.Context, key string) error {
	err := s.c.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
	if err != nil && absent(err) {
		return nil
	}
	return err
}

func (s *store) Discard(ctx context.Context, id, upload string) error {
	key := s.partKey(id, upload)
	err := s.c.RemoveIncompleteUpload(ctx, s.bucket, key)
	if err != nil && absent(err) {
		err = nil
	}
	return errors.Join(err, s.remove(ctx, key))
}

func (s *store) Remove(ctx context.Context, id string) error { return s.remove(ctx, s.key(id)) }

// List leaves out keys that this store does not make.
func (s *store) List(ctx context.Context) ([]image.Object, error) {
	ctx, end := context.WithCancel(ctx)
	defer end() // minio-go's goroutines end with it
	seen := map[image.Object]bool{}
	var out []image.Object
	add := func(key string) {
		if o, ok := s.parse(key); ok && !seen[o] {
			seen[o] = true
			out = append(out, o)
		}
	}
	for o := range s.c.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, o.Err
		}
		add(o.Key)
	}
	for o := range s.c.ListIncompleteUploads(ctx, s.bucket, s.prefix, true) {
		if o.Err != nil {
			return nil, o.Err
		}
		add(o.Key)
	}
	return out, nil
}

func (s *store) parse(key string) (image.Object, bool) {
	name, ok := strings.CutPrefix(key, s.prefix)
	if !ok {
		return image.Object{}, false
	}
	o := image.Object{ID: name}
	if rest, isPart := strings.CutSuffix(name, ".part"); isPart {
		if o.ID, o.Upload, ok = strings.Cut(rest, "."); !ok || o.Upload == "" {
			return o, false
		}
	}
	u, err := uuid.Parse(o.ID)
	return o, err == nil && u.String() == o.ID
}

// Free is unknown: an object store does not say.
func (s *store) Free(context.Context) (int64, error) { return -1, nil }
