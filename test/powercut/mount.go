package powercut

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount shows the disk at dir until unmount is called, which does not wait for processes that have files open there.
func (d *Disk) Mount(dir string) (unmount func() error, err error) {
	second := time.Second
	srv, err := fs.Mount(dir, &node{d: d, e: d.root}, &fs.Options{EntryTimeout: &second, AttrTimeout: &second,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "powercut", Name: "powercut"}})
	if err != nil {
		return nil, err
	}
	return func() error {
		err := syscall.Unmount(dir, syscall.MNT_DETACH)
		if err == nil {
			srv.Wait()
		}
		return err
	}, nil
}

// node is an entry as go-fuse wants it.
type node struct {
	fs.Inode
	d *Disk
	e *entry
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeLinker    = (*node)(nil)
	_ fs.NodeSymlinker = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

// attr is under d.mu.
func (n *node) attr(e *entry, out *fuse.Attr) {
	out.Ino, out.Mode, out.Size, out.Nlink, out.Blksize = e.inode, e.mode, uint64(len(e.data)), 1, page
	out.Blocks, out.Owner = (out.Size+511)/512, fuse.Owner{Uid: e.uid, Gid: e.gid}
	out.SetTimes(&e.changed, &e.changed, &e.changed)
}

// child makes the inode of an entry. Under d.mu.
func (n *node) child(ctx context.Context, e *entry, out *fuse.EntryOut) *fs.Inode {
	n.attr(e, &out.Attr)
	return n.NewInode(ctx, &node{d: n.d, e: e}, fs.StableAttr{Mode: e.mode & syscall.S_IFMT, Ino: e.inode})
}

// Lookup implements fs.NodeLookuper.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.d.mu.RLock()
	defer n.d.mu.RUnlock()
	e := n.e.names[name]
	if e == nil {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, e, out), 0
}

// Readdir implements fs.NodeReaddirer.
func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	n.d.mu.RLock()
	defer n.d.mu.RUnlock()
	var out []fuse.DirEntry
	for name, e := range n.e.names {
		out = append(out, fuse.DirEntry{Name: name, Ino: e.inode, Mode: e.mode})
	}
	return fs.NewListDirStream(out), 0
}

func (n *node) add(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.d.cut {
		return nil, syscall.EIO
	}
	if n.e.names[name] != nil {
		return nil, syscall.EEXIST
	}
	e := n.d.make(mode)
	if c, ok := fuse.FromContext(ctx); ok {
		e.uid, e.gid = c.Uid, c.Gid
	}
	n.e.names[name], n.e.changed = e, time.Now()
	return n.child(ctx, e, out), 0
}

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	in, errno := n.add(ctx, name, mode&0o7777|syscall.S_IFREG, out)
	return in, nil, 0, errno
}

// Mkdir implements fs.NodeMkdirer.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.add(ctx, name, mode&0o7777|syscall.S_IFDIR, out)
}

// Mknod implements fs.NodeMknoder: sockets and pipes, which hold nothing.
func (n *node) Mknod(ctx context.Context, name string, mode, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.add(ctx, name, mode, out)
}

// Symlink implements fs.NodeSymlinker.
func (n *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	in, errno := n.add(ctx, name, 0o777|syscall.S_IFLNK, out)
	if errno == 0 {
		n.d.mu.Lock()
		n.e.names[name].target = target
		n.d.mu.Unlock()
	}
	return in, errno
}

// Readlink implements fs.NodeReadlinker.
func (n *node) Readlink(context.Context) ([]byte, syscall.Errno) { return []byte(n.e.target), 0 }

// Link implements fs.NodeLinker.
func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.e.names[name] != nil {
		return nil, syscall.EEXIST
	}
	e := target.(*node).e
	n.e.names[name] = e
	return n.child(ctx, e, out), 0
}

func (n *node) remove(name string, dir bool) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	e := n.e.names[name]
	switch {
	case e == nil:
		return syscall.ENOENT
	case dir && len(e.names) > 0:
		return syscall.ENOTEMPTY
	}
	delete(n.e.names, name)
	return 0
}

// Unlink implements fs.NodeUnlinker.
func (n *node) Unlink(_ context.Context, name string) syscall.Errno { return n.remove(name, false) }

// Rmdir implements fs.NodeRmdirer.
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno { return n.remove(name, true) }

// Rename implements fs.NodeRenamer.
func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	e, dst := n.e.names[name], to.EmbeddedInode().Operations().(*node).e
	const noReplace = 1
	switch {
	case e == nil:
		return syscall.ENOENT
	case flags&noReplace != 0 && dst.names[newName] != nil:
		return syscall.EEXIST
	case flags&^noReplace != 0:
		return syscall.EINVAL
	case dst.names[newName] != nil && len(dst.names[newName].names) > 0:
		return syscall.ENOTEMPTY
	}
	delete(n.e.names, name)
	dst.names[newName] = e
	return 0
}

// Open implements fs.NodeOpener.
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_TRUNC != 0 {
		n.d.mu.Lock()
		n.e.resize(0)
		n.d.mu.Unlock()
	}
	return nil, 0, 0
}

// Read implements fs.NodeReader.
func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.d.mu.RLock()
	defer n.d.mu.RUnlock()
	if off >= int64(len(n.e.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, n.e.data[off:])]), 0
}

// Write implements fs.NodeWriter.
func (n *node) Write(_ context.Context, _ fs.FileHandle, b []byte, off int64) (uint32, syscall.Errno) {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.d.cut {
		return 0, syscall.EIO
	}
	n.e.write(b, off)
	return uint32(len(b)), 0
}

// Fsync implements fs.NodeFsyncer, of files and directories.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.d.sync(n.e)
	return 0
}

// Getattr implements fs.NodeGetattrer.
func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.d.mu.RLock()
	defer n.d.mu.RUnlock()
	n.attr(n.e, &out.Attr)
	return 0
}

// Setattr implements fs.NodeSetattrer.
func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		n.e.resize(int64(size))
	}
	if mode, ok := in.GetMode(); ok {
		n.e.mode = n.e.mode&syscall.S_IFMT | mode&0o7777
	}
	if uid, ok := in.GetUID(); ok {
		n.e.uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		n.e.gid = gid
	}
	n.attr(n.e, &out.Attr)
	return 0
}

// Statfs implements fs.NodeStatfser: a disk that is never full.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.NameLen = page, page, 255
	out.Blocks, out.Bfree, out.Bavail = 1<<26, 1<<26, 1<<26
	out.Files, out.Ffree = 1<<20, 1<<20
	return 0
}
