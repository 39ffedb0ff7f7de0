"""One node: a wrapper that leaves no orphans, an agent that obeys, a warm fork server, and the ranks forked from it.

__main__ ── wrapper: outlives the agent, sweeps up what is left
   └─ agent: orders in, news out (node.py, stream.py); about 13 MB, never imports torch
        └─ fork server: torch and what the job imports, once (forkserver.py, preload.py)
             ├─ ranks (entry.py)
             └─ the attempt's TCPStore (store.py)
"""
