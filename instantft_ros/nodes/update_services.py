"""The operator's services: train now, freeze, approve, go back, import, and so on."""

from __future__ import annotations

from pathlib import Path

from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import SetBool
from std_srvs.srv import Trigger as TriggerSrv

from instantft_ros.core.errors import InstantFTError
from instantft_ros.governance.version_export import read_exported
from instantft_ros.msg import Status
from instantft_ros.nodes.classifier_parameters import ClassifierParameters
from instantft_ros.nodes.parameters import Parameters
from instantft_ros.nodes.state_keeper import StateKeeper
from instantft_ros.nodes.updates import Updates
from instantft_ros.pipeline import Pipeline
from instantft_ros.srv import Approve, Import, Rollback

#: Suspect corrections that one answer names.
MOST_NAMED = 50


def why_not_allowed(operators: tuple[str, ...], operator_id: str) -> str:
    """Say why an operator may not act, empty when he may: where none is named, everybody may."""
    if operators == ('',) or operator_id in operators:
        return ''
    return (f"operator '{operator_id}' is not allowed, the parameter operators names "
            f'{list(operators)}')


class UpdateServices:
    """Offers the services of doc/classifier.md."""

    def __init__(self, node: LifecycleNode, settings: Parameters[ClassifierParameters],
                 pipeline: Pipeline, updates: Updates, status: Status,
                 state: StateKeeper | None) -> None:
        self._node, self._settings, self._pipeline = node, settings, pipeline
        self._updates, self._status, self._state = updates, status, state
        self._services = [
            node.create_service(TriggerSrv, '~/retrain', self._retrain),
            node.create_service(TriggerSrv, '~/clear', self._clear),
            node.create_service(TriggerSrv, '~/save', self._save),
            node.create_service(TriggerSrv, '~/suspects', self._suspects),
            node.create_service(SetBool, '~/freeze', self._freeze),
            node.create_service(Approve, '~/approve', self._approve),
            node.create_service(Import, '~/import', self._import),
            node.create_service(Rollback, '~/rollback', self._rollback)]

    def close(self) -> None:
        """Withdraw the services."""
        for service in self._services:
            self._node.destroy_service(service)

    def _may(self, operator_id: str) -> str:
        return why_not_allowed(self._settings.value.operators, operator_id)

    def _retrain(self, request: TriggerSrv.Request,
                 response: TriggerSrv.Response) -> TriggerSrv.Response:
        updates = self._updates
        problem = ('the node is not active' if self._status.state == Status.INACTIVE else
                   'the adapter is frozen' if updates.frozen else
                   'a fine-tuning is under way' if updates.training else
                   'a version is tried in the shadow' if updates.shadow else
                   '' if updates.train() else 'the cache holds no sample to train on')
        response.success, response.message = not problem, problem or 'started'
        return response

    def _clear(self, request: TriggerSrv.Request,
               response: TriggerSrv.Response) -> TriggerSrv.Response:
        samples = len(self._pipeline.cache)
        self._pipeline.cache.clear()
        self._updates.forget_corrections()
        self._updates.log('clear', samples=samples)
        self._updates.tell(f'cache cleared, {samples} samples forgotten')
        response.success, response.message = True, f'{samples} samples forgotten'
        return response

    def _save(self, request: TriggerSrv.Request,
              response: TriggerSrv.Response) -> TriggerSrv.Response:
        if self._state is None:
            response.message = 'not saved: the parameter state_directory is empty'
            return response
        self._state.wait()
        problem = self._updates.trouble_with_the_disk()
        number = self._pipeline.versions.current.number
        response.success = not problem
        response.message = problem or f'version {number} is in {self._state.versions.folder}'
        return response

    def _suspects(self, request: TriggerSrv.Request,
                  response: TriggerSrv.Response) -> TriggerSrv.Response:
        found = self._updates.suspects()
        more = f'\nand {len(found) - MOST_NAMED} more' if len(found) > MOST_NAMED else ''
        response.success, response.message = True, '\n'.join(found[:MOST_NAMED]) + more
        return response

    def _freeze(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._updates.frozen = request.data
        if request.data:
            self._updates.drop_training()
        word = 'frozen' if request.data else 'unfrozen'
        self._updates.log('freeze', frozen=request.data)
        self._updates.tell(word)
        response.success, response.message = True, word
        return response

    def _approve(self, request: Approve.Request, response: Approve.Response) -> Approve.Response:
        candidate = self._updates.pending_approval
        response.adapter_version = self._pipeline.versions.current.number
        response.message = self._may(request.operator_id)
        if not response.message and candidate is None:
            response.message = 'no version waits for approval'
        if response.message or candidate is None:
            return response
        number = candidate.manifest.number
        if request.version not in (0, number):
            response.message = f'version {number} waits for approval, not {request.version}'
            return response
        who = request.operator_id or 'an operator'
        if request.accept:
            version = self._updates.go_live(candidate, f'operator:{who}')
            response.adapter_version = version.number
            response.message = f'version {number} is live'
        else:
            self._updates.turn_down(candidate, who)
            response.message = f'version {number} was turned down'
        response.success = True
        return response

    def _import(self, request: Import.Request, response: Import.Response) -> Import.Response:
        response.message = self._may(request.operator_id)
        if response.message:
            return response
        try:
            origin, adapter = read_exported(Path(request.path), self._pipeline.backbone.layout,
                                            self._pipeline.backbone.digest,
                                            len(self._pipeline.classes))
        except InstantFTError as error:
            response.message = str(error)
            return response
        decision = self._updates.judge_foreign(adapter)
        candidate = self._updates.imported(adapter, origin, decision)
        self._updates.log('import', version=candidate.manifest.number, origin=origin,
                          by=request.operator_id)
        self._updates.consider(candidate, 'import')
        response.success = decision.accepted
        response.adapter_version = candidate.manifest.number
        response.message = (decision.reason if not decision.accepted else
                            'it waits for approval' if self._updates.pending_approval is candidate
                            else f'version {candidate.manifest.number} is live')
        return response

    def _rollback(self, request: Rollback.Request,
                  response: Rollback.Response) -> Rollback.Response:
        left = self._pipeline.versions.current
        response.adapter_version = left.number
        response.message = self._may(request.operator_id)
        if response.message:
            return response
        try:
            now = self._updates.roll_back(left.parent if request.to_parent else request.version,
                                          request.operator_id or 'an operator')
        except InstantFTError as error:
            response.message = str(error)
            return response
        response.success, response.adapter_version = True, now.number
        return response
