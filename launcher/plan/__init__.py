"""What will be executed, as plain data: a pure function of the job and the cluster. It asks the machine nothing.

The run directory stands as `{run_dir}` in every string, so that a run can be moved and the plan printed before it exists.
"""

from launcher.plan.making import make_plan as make_plan
from launcher.plan.making import settle as settle
from launcher.plan.making import unsettle as unsettle
from launcher.plan.model import Batch as Batch
from launcher.plan.model import Cluster as Cluster
from launcher.plan.model import Entry as Entry
from launcher.plan.model import Machine as Machine
from launcher.plan.model import Node as Node
from launcher.plan.model import Plan as Plan
from launcher.plan.model import World as World
from launcher.plan.model import read_plan as read_plan
from launcher.plan.world import CORES_PER_RANK as CORES_PER_RANK
from launcher.plan.world import make_world as make_world
