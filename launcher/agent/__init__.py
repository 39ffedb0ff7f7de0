"""One node: a wrapper that leaves no orphans, an agent that obeys, a warm fork server, and the ranks forked from it.

__main__ ── wrapper: outlives the agent, sweeps up what is left (orphans.py)
   └─ agent: orders in, news out (node.py, stream.py); about 14 MB, never imports torch
        └─ fork server: torch and what the job imports, once (forkserver.py, preload.py)
             ├─ the attempt's TCPStore (store.py)
             ├─ ranks of an attempt (attempt.py), each from entry.py to ending.py
             └─ or torchrun in their place (torchrun.py), whose ranks come through elastic.py
"""
