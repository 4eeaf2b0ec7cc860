package api

import (
	"net/http"
	"slices"

	"nephos/internal/httpapi"
)

// cacheList is GET /cache: what this node holds near, and what it is asked to.
func (s *server) cacheList(r *httpapi.Request) (any, error) {
	all, err := s.svc.Cached(r.Context())
	if err != nil {
		return nil, err
	}
	cached, queued := []object{}, []string{}
	for _, c := range all {
		if c.State == "queued" {
			queued = append(queued, c.ImageID)
			continue
		}
		cached = append(cached, object{"image_id": c.ImageID, "hits": c.Hits, "size": c.Size, "last_accessed": float64(c.Accessed.UnixMicro()) / 1e6,
			"last_modified": float64(c.Modified.UnixMicro()) / 1e6})
	}
	return object{"cached_images": cached, "queued_images": queued}, nil
}

func (s *server) cacheQueue(r *httpapi.Request) (any, error) {
	return nil, s.svc.QueueForCache(r.Context(), r.Param("id"))
}

func (s *server) cacheDelete(r *httpapi.Request) (any, error) {
	return nil, s.svc.Uncache(r.Context(), r.Param("id"))
}

func (s *server) cacheClear(r *httpapi.Request) (any, error) {
	return nil, s.svc.ClearCache(r.Context(), r.Header.Get("X-Image-Cache-Clear-Target"))
}

func (s *server) cacheClean(r *httpapi.Request) (any, error) {
	return nil, s.svc.CleanCache(r.Context())
}

func (s *server) cachePrune(r *httpapi.Request) (any, error) {
	n, bytes, err := s.svc.PruneCache(r.Context())
	if err != nil {
		return nil, err
	}
	return &httpapi.Response{Status: http.StatusOK, Body: object{"total_files_pruned": n, "total_bytes_pruned": bytes}}, nil
}

// cacheNodes is GET /cache/nodes/{id}: which controllers hold the image near.
func (s *server) cacheNodes(r *httpapi.Request) (any, error) {
	img, err := s.svc.ByID(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	nodes, err := s.svc.NodesWith(r.Context(), img.ID)
	if err != nil {
		return nil, err
	}
	return object{"cached_nodes": slices.Clip(append([]string{}, nodes...))}, nil
}
