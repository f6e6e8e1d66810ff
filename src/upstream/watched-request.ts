/** A request to a node that somebody hears the end of (UpstreamWatch): that of its head, since what the body does is told by whoever reads it. Used by upstream-node.ts. */
import type { AskedNode, ResponseReceiver, Transfer, UpstreamRequest, UpstreamTransport } from './upstream-transport.ts';

/** Starts the request as `asked` has it. */
export function startWatched(
  transport: Pick<UpstreamTransport, 'start'>,
  { request, asked }: { readonly request: UpstreamRequest; readonly asked: AskedNode },
  receiver: ResponseReceiver,
): Transfer {
  let isOver = false;
  const end = (how: Parameters<AskedNode['onEnd']>[0]): void => {
    if (!isOver) asked.onEnd(how);
    isOver = true;
  };
  const transfer = transport.start(
    { ...request, fields: asked.fields },
    {
      onInterim: (head) => receiver.onInterim?.(head),
      onHead: (head, running) => {
        end({ status: head.status });
        return receiver.onHead(head, running);
      },
      onUpgrade: (head, connection) => {
        end({ status: head.status });
        if (receiver.onUpgrade === undefined) connection.socket.destroy();
        else receiver.onUpgrade(head, connection);
      },
      onFailure: (error) => {
        end({ error: error.code });
        receiver.onFailure(error);
      },
    },
  );
  return {
    resume: () => transfer.resume(),
    abort: () => {
      end({ error: 'CLIENT_GONE' });
      transfer.abort();
    },
  };
}
