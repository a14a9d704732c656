import type { QueueContext, QueuePlan, RxQueue, TxQueue } from '../../queue.ts';

type MakeRx = (plan: QueuePlan, context: QueueContext) => RxQueue;
type MakeTx = (plan: QueuePlan, context: QueueContext) => TxQueue;
export function warmUpWith(_context: QueueContext, _rx: MakeRx, _tx: MakeTx): void {}
