"""The server over gRPC: ``GRPCInferenceService`` of the Open Inference Protocol, with health checks and reflection."""

from deploy_snn.server.rpc.listen import RpcServer

__all__ = ["RpcServer"]
