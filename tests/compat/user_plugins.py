"""Plug-ins as a PyMARL user has them in her repository: nothing in here knows VAST or this project's own helpers."""

import copy

import numpy as np
import torch as th
import torch.nn as nn
import torch.nn.functional as F
from torch.distributions import Categorical
from torch.optim import Adam

from components.episode_buffer import EpisodeBatch
from components.epsilon_schedules import DecayThenFlatSchedule
from controllers.basic_controller import BasicMAC
from envs.multiagentenv import MultiAgentEnv
from modules.mixers.vdn import VDNMixer
from utils.rl_utils import build_td_lambda_targets


class LeverEnv(MultiAgentEnv):
    """Everybody is paid the share of agents that pull the lever shown to all; the third lever is stuck on odd steps."""

    def __init__(self, n_agents=3, levers=3, episode_limit=5, noise=0.0, seed=None):
        self.n_agents = n_agents
        self.levers = levers
        self.episode_limit = episode_limit
        self.noise = noise
        self.rng = np.random.RandomState(seed)

    def reset(self):
        self.steps = 0
        self.shown = self.rng.randint(2)
        return self.get_obs(), self.get_state()

    def step(self, actions):
        pulls = [int(a) for a in actions]
        for agent_id, pull in enumerate(pulls):
            assert self.get_avail_agent_actions(agent_id)[pull] == 1
        hits = sum(pull == self.shown for pull in pulls)
        reward = hits / self.n_agents + self.noise * self.rng.randn()
        self.steps += 1
        self.shown = self.rng.randint(2)
        info = {"all_pulled": hits == self.n_agents}
        done = self.steps >= self.episode_limit
        if done:
            info["episode_limit"] = True
        return reward, done, info

    def get_obs(self):
        return [self.get_obs_agent(i) for i in range(self.n_agents)]

    def get_obs_agent(self, agent_id):
        return np.array([self.shown, self.steps / self.episode_limit, 1.0], dtype=np.float64)

    def get_obs_size(self):
        return 3

    def get_state(self):
        return np.concatenate(self.get_obs()).astype(np.float32)

    def get_state_size(self):
        return 3 * self.n_agents

    def get_avail_actions(self):
        return [self.get_avail_agent_actions(i) for i in range(self.n_agents)]

    def get_avail_agent_actions(self, agent_id):
        avail = [1] * self.levers
        if self.steps % 2:
            avail[-1] = 0
        return avail

    def get_total_actions(self):
        return self.levers

    def get_stats(self):
        return {"steps": self.steps}

    def close(self):
        pass


class KwargsLeverEnv(LeverEnv):
    """The same, for a repository whose environments take whatever the YAML says."""

    def __init__(self, **kwargs):
        super().__init__(
            n_agents=kwargs["n_agents"], episode_limit=kwargs.get("episode_limit", 5), seed=kwargs.get("seed")
        )


class FlatHiddenAgent(nn.Module):
    """Memory leaves as (b * a, h), as that of PyMARL's own agent."""

    def __init__(self, input_shape, args):
        super().__init__()
        self.args = args
        self.encoder = nn.Linear(input_shape, args.rnn_hidden_dim)
        self.memory = nn.GRUCell(args.rnn_hidden_dim, args.rnn_hidden_dim)
        self.advantage = nn.Linear(args.rnn_hidden_dim, args.n_actions)
        self.value = nn.Linear(args.rnn_hidden_dim, 1)

    def init_hidden(self):
        return self.encoder.weight.new(1, self.args.rnn_hidden_dim).zero_()

    def forward(self, inputs, hidden_state):
        x = F.relu(self.encoder(inputs))
        h_in = hidden_state.reshape(-1, self.args.rnn_hidden_dim)
        h = self.memory(x, h_in)
        adv = self.advantage(h)
        q = self.value(h) + adv - adv.mean(dim=1, keepdim=True)
        return q, h


class GroupedHiddenAgent(FlatHiddenAgent):
    """Values and memory leave as (b, a, .), as later forks of PyMARL have it."""

    def forward(self, inputs, hidden_state):
        q, h = super().forward(inputs, hidden_state)
        n = self.args.n_agents
        return q.view(-1, n, q.shape[-1]), h.view(-1, n, h.shape[-1])


class WeightedSumMixer(nn.Module):
    """Non-negative weights and an offset, both from the state; its width is a key of the user's own YAML."""

    def __init__(self, args):
        super().__init__()
        self.args = args
        self.n_agents = args.n_agents
        self.state_dim = int(np.prod(args.state_shape))
        self.weights = nn.Sequential(
            nn.Linear(self.state_dim, args.weighted_sum_units),
            nn.ReLU(),
            nn.Linear(args.weighted_sum_units, self.n_agents),
        )
        self.offset = nn.Linear(self.state_dim, 1)

    def forward(self, agent_qs, states):
        bs = agent_qs.size(0)
        states = states.reshape(-1, self.state_dim)
        agent_qs = agent_qs.view(-1, 1, self.n_agents)
        w = th.abs(self.weights(states)).view(-1, self.n_agents, 1)
        q_tot = th.bmm(agent_qs, w) + self.offset(states).view(-1, 1, 1)
        return q_tot.view(bs, -1, 1)


class LambdaLearner:
    """TD(lambda) through VDN, with a time loop and an optimiser of its own."""

    def __init__(self, mac, scheme, logger, args):
        self.args = args
        self.mac = mac
        self.logger = logger
        self.n_actions = scheme["actions_onehot"]["vshape"][0]
        self.mixer = VDNMixer()
        self.params = list(mac.parameters()) + list(self.mixer.parameters())
        self.optimiser = Adam(params=self.params, lr=args.lr)
        self.target_mac = copy.deepcopy(mac)
        self.target_mixer = copy.deepcopy(self.mixer)
        self.last_target_update_episode = 0
        self.log_stats_t = -self.args.learner_log_interval - 1

    def train(self, batch: EpisodeBatch, t_env: int, episode_num: int):
        rewards = batch["reward"][:, :-1]
        actions = batch["actions"][:, :-1]
        terminated = batch["terminated"][:, :-1].float()
        mask = batch["filled"][:, :-1].float()
        mask[:, 1:] = mask[:, 1:] * (1 - terminated[:, :-1])
        avail_actions = batch["avail_actions"]

        mac_out = []
        self.mac.init_hidden(batch.batch_size)
        for t in range(batch.max_seq_length):
            agent_outs = self.mac.forward(batch, t=t)
            mac_out.append(agent_outs)
        mac_out = th.stack(mac_out, dim=1)
        chosen = th.gather(mac_out[:, :-1], dim=3, index=actions).squeeze(3)

        target_mac_out = []
        self.target_mac.init_hidden(batch.batch_size)
        for t in range(batch.max_seq_length):
            target_mac_out.append(self.target_mac.forward(batch, t=t))
        target_mac_out = th.stack(target_mac_out, dim=1)
        target_mac_out[avail_actions == 0] = -9999999
        target_qs = target_mac_out.max(dim=3)[0]

        q_tot = self.mixer(chosen, batch["state"][:, :-1])
        target_q_tot = self.target_mixer(target_qs, batch["state"])
        targets = build_td_lambda_targets(
            rewards, terminated, mask, target_q_tot, self.args.n_agents, self.args.gamma, self.args.td_lambda
        )
        td_error = q_tot - targets.detach()
        masked_td_error = td_error * mask.expand_as(td_error)
        loss = (masked_td_error**2).sum() / mask.sum()

        self.optimiser.zero_grad()
        loss.backward()
        grad_norm = th.nn.utils.clip_grad_norm_(self.params, self.args.grad_norm_clip)
        self.optimiser.step()

        if (episode_num - self.last_target_update_episode) / self.args.target_update_interval >= 1.0:
            self.target_mac.load_state(self.mac)
            self.target_mixer.load_state_dict(self.mixer.state_dict())
            self.last_target_update_episode = episode_num
            self.logger.console_logger.info("Updated target network")
        if t_env - self.log_stats_t >= self.args.learner_log_interval:
            self.logger.log_stat("loss", loss.item(), t_env)
            self.logger.log_stat("grad_norm", grad_norm, t_env)
            self.log_stats_t = t_env

    def cuda(self):
        self.mac.cuda()
        self.target_mac.cuda()
        self.mixer.cuda()
        self.target_mixer.cuda()

    def save_models(self, path):
        self.mac.save_models(path)
        th.save(self.optimiser.state_dict(), f"{path}/opt.th")

    def load_models(self, path):
        self.mac.load_models(path)
        self.target_mac.load_models(path)
        self.optimiser.load_state_dict(th.load(f"{path}/opt.th", map_location=lambda storage, loc: storage))


class SoftmaxSelector:
    """Boltzmann exploration; has no epsilon."""

    def __init__(self, args):
        self.args = args
        self.schedule = DecayThenFlatSchedule(1.0, args.softmax_temperature, args.epsilon_anneal_time, decay="linear")

    def select_action(self, agent_inputs, avail_actions, t_env, test_mode=False):
        self.temperature = self.schedule.eval(t_env)
        masked = agent_inputs.clone()
        masked[avail_actions == 0.0] = -float("inf")
        if test_mode:
            return masked.max(dim=2)[1]
        return Categorical(logits=masked / self.temperature).sample().long()


class ClockMAC(BasicMAC):
    """Shows the agents what time it is."""

    def _build_inputs(self, batch, t):
        bs = batch.batch_size
        inputs = [batch["obs"][:, t]]
        if self.args.obs_last_action:
            if t == 0:
                inputs.append(th.zeros_like(batch["actions_onehot"][:, t]))
            else:
                inputs.append(batch["actions_onehot"][:, t - 1])
        if self.args.obs_agent_id:
            inputs.append(th.eye(self.n_agents, device=batch.device).unsqueeze(0).expand(bs, -1, -1))
        inputs.append(th.full((bs, self.n_agents, 1), t / self.args.episode_limit, device=batch.device))
        return th.cat([x.reshape(bs * self.n_agents, -1) for x in inputs], dim=1)

    def _get_input_shape(self, scheme):
        return super()._get_input_shape(scheme) + 1
